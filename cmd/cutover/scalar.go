package main

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// setScalar reads one value as people write it.
func setScalar(target reflect.Value, text string) error {
	if own, ok := target.Addr().Interface().(yaml.BytesUnmarshaler); ok {
		return own.UnmarshalYAML([]byte(text))
	}
	if target.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 90s, 10m or 1h30m", text)
		}
		target.SetInt(int64(d))
		return nil
	}
	switch target.Kind() {
	case reflect.String:
		target.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		target.SetInt(int64(n))
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		target.SetBool(text == "true")
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		target.SetFloat(f)
	default:
		return fmt.Errorf("a %s cannot be configured", target.Type()) // a test reads every key, so that nobody meets this
	}
	return nil
}

// textOf is a scalar as it was written, without quotes.
func textOf(scalar ast.ScalarNode) string {
	switch s := scalar.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.LiteralNode:
		return s.Value.Value
	}
	return scalar.GetToken().Value
}

func kindOf(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}
