package main

import (
	"fmt"
	"reflect"
	"strings"
)

// unknownKey tells what is wrong with a key that stands at the path, in a mapping that is read into the type.
func unknownKey(path string, within reflect.Type) string {
	place, key := "", path
	if dot := strings.LastIndex(path, "."); dot >= 0 {
		place, key = " under "+path[:dot], path[dot+1:]
	}
	text := fmt.Sprintf("unknown key %q%s", key, place)
	siblings := keysOf(within)
	if near := nearest(key, siblings); near != "" {
		return fmt.Sprintf("%s; did you mean %q?", text, near)
	}
	if homes := homesOf(key, reflect.TypeFor[Config](), ""); len(homes) > 0 {
		return fmt.Sprintf("%s; did you mean %s?", text, strings.Join(homes, " or "))
	}
	return fmt.Sprintf("%s; known there: %s", text, strings.Join(siblings, ", "))
}

// keysOf lists the keys of one mapping.
func keysOf(t reflect.Type) []string {
	var keys []string
	for field := range t.Fields() {
		if name := yamlName(field); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}

// homesOf lists the paths at which a key of this name would be known.
func homesOf(key string, t reflect.Type, path string) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var homes []string
	for field := range t.Fields() {
		name := yamlName(field)
		if name == "" {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		if name == key {
			homes = append(homes, at)
		}
		homes = append(homes, homesOf(key, field.Type, at)...)
	}
	return homes
}

// nearest finds the word that is closest to the one that was typed, if any is close.
func nearest(typed string, words []string) string {
	best, distance := "", len(typed)/3+2
	for _, w := range words {
		if d := edits(typed, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements between two words (Levenshtein 1966).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
