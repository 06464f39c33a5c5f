package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"
)

const configHelp = `
Prints the merged configuration with every default, after the overrides of
the environment. What it prints is itself a valid cutover.yaml.

EXAMPLES
   cutover config
   cutover config --env staging
   cutover config --json | jq .rollout.steps`

func (i *invocation) configCommand() *cli.Command {
	return i.command(commandSpec{
		name: "config", usage: "the merged configuration with every default", help: configHelp,
		run: func(c *cli.Context) error {
			path, err := findConfig(i.configOf(c), i.dir)
			if err != nil {
				return err
			}
			config, err := loadConfig(path, i.environmentOf(c))
			if err != nil {
				return err
			}
			i.settleBeside(c, config)
			return i.printConfig(config)
		},
	})
}

// settleBeside settles what a crash left open, before a command that needs no session. A host that only reads the file has no
// state folder, gets none, and has nothing to settle.
func (i *invocation) settleBeside(c *cli.Context, config Config) {
	if _, err := os.Stat(filepath.Join(config.State, config.App)); err == nil {
		if s, err := i.start(c); err == nil {
			s.close()
		}
	}
}

func (i *invocation) printConfig(config Config) error {
	text := config.yaml()
	if i.out.format == forPeople {
		_, _ = io.WriteString(i.out.stdout, text)
		return nil
	}
	var document any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	i.out.result(document)
	return nil
}

// yaml is a cutover.yaml that says the same with every default.
func (c Config) yaml() string {
	c.Environments = nil
	c.Signals.AccessLog.Path = c.judgedLog()
	var out strings.Builder
	printBlock(&out, reflect.ValueOf(c), "")
	return out.String()
}

// printBlock writes what is in a struct, a list or a map, one line each, as tree reads it.
func printBlock(out *strings.Builder, v reflect.Value, indent string) {
	switch v.Kind() {
	case reflect.Struct:
		for field, value := range v.Fields() {
			if strings.HasSuffix(field.Tag.Get("yaml"), ",omitempty") && value.IsZero() {
				continue
			}
			printPair(out, yamlName(field), value, indent)
		}
	case reflect.Map:
		values := map[string]reflect.Value{}
		for key, value := range v.Seq2() {
			values[key.String()] = value
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			printPair(out, quoted(key), values[key], indent)
		}
	case reflect.Slice:
		for _, value := range v.Seq2() {
			if text, inline := inlineOf(value); inline {
				fmt.Fprintf(out, "%s- %s\n", indent, text)
				continue
			}
			var block strings.Builder
			printBlock(&block, value, indent+"  ")
			fmt.Fprintf(out, "%s- %s", indent, strings.TrimLeft(block.String(), " "))
		}
	}
}

func printPair(out *strings.Builder, key string, value reflect.Value, indent string) {
	if text, inline := inlineOf(value); inline {
		fmt.Fprintf(out, "%s%s: %s\n", indent, key, text)
		return
	}
	fmt.Fprintf(out, "%s%s:\n", indent, key)
	printBlock(out, value, indent+"  ")
}

// inlineOf is the text of a value that stands on its key's line: a single one, or an empty list or map.
func inlineOf(v reflect.Value) (string, bool) {
	switch own := v.Interface().(type) {
	case time.Duration:
		return shortest(own), true
	case yaml.BytesMarshaler:
		text, err := own.MarshalYAML()
		return string(text), err == nil
	}
	switch v.Kind() {
	case reflect.Map:
		return "{}", v.Len() == 0
	case reflect.Slice:
		return "[]", v.Len() == 0
	case reflect.Struct:
		return "", false
	case reflect.String:
		return quoted(v.String()), true
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	}
	return fmt.Sprint(v.Interface()), true
}

// shortest is a duration as people write it: 10m, not 10m0s.
func shortest(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// bare is text that no reader of YAML takes for anything but itself, apart from the words in special.
var (
	bare    = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	special = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
)

// quoted is a text as YAML reads it back: Go's way of quoting is YAML's too.
func quoted(text string) string {
	if bare.MatchString(text) && !slices.Contains(special, strings.ToLower(text)) {
		return text
	}
	return strconv.Quote(text)
}
