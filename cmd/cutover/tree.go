package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// tree is a parsed cutover.yaml that fills structs layer by layer: a mapping is laid over what stands there key by key, a list or a
// value replaces it, and a key without a value leaves it alone. It is strict: what the struct does not know is an error with its place.
type tree struct {
	file    string
	body    ast.Node
	anchors map[string]ast.Node
	// places remembers where each key stood that was read, by its path such as stacks.web[0].blue, for errors that are found later.
	places map[string]*token.Position
	// merges counts the mappings that << brought in: a file that merges itself would never end.
	merges int
}

// spot is where in the file a node hangs: its path from the top, and the place to point at where the node has none of its own.
type spot struct {
	path string
	at   *token.Position
}

func (s spot) key(name string, at *token.Position) spot {
	if s.path != "" {
		name = s.path + "." + name
	}
	return spot{name, at}
}

func (s spot) element(n int, node ast.Node) spot {
	return spot{fmt.Sprintf("%s[%d]", s.path, n), placeOf(node, s.at)}
}

// placeOf is where a node begins; mappings and lists know that badly, so the key before them is shown instead.
func placeOf(node ast.Node, otherwise *token.Position) *token.Position {
	if scalar, ok := node.(ast.ScalarNode); ok && scalar.GetToken() != nil {
		return scalar.GetToken().Position
	}
	return otherwise
}

func (t *tree) errorf(s spot, f string, args ...any) error {
	where := t.file
	if s.at != nil {
		where = fmt.Sprintf("%s:%d:%d", t.file, s.at.Line, s.at.Column)
	}
	if s.path != "" {
		where += ": " + s.path
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(f, args...))
}

// parseTree reads one document whose top is a mapping.
func parseTree(file string, text []byte) (*tree, error) {
	t := &tree{file: file, anchors: map[string]ast.Node{}, places: map[string]*token.Position{}}
	parsed, err := parser.ParseBytes(text, 0)
	if err != nil {
		if located, ok := errors.AsType[yaml.Error](err); ok && located.GetToken() != nil {
			return nil, t.errorf(spot{at: located.GetToken().Position}, "%s", located.GetMessage())
		}
		return nil, t.errorf(spot{}, "%w", err)
	}
	for _, document := range parsed.Docs {
		switch {
		case document.Body == nil:
		case t.body == nil:
			t.body = document.Body
		default:
			return nil, t.errorf(spot{}, "holds more than one document; only one is read")
		}
	}
	if t.body == nil {
		return nil, t.errorf(spot{}, "is empty")
	}
	if _, ok := t.body.(ast.MapNode); !ok {
		return nil, t.errorf(spot{at: t.body.GetToken().Position}, "a configuration begins with a key, such as app: shop")
	}
	ast.Walk(t, t.body)
	return t, nil
}

// Visit collects the anchors.
func (t *tree) Visit(node ast.Node) ast.Visitor {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		t.anchors[anchor.Name.GetToken().Value] = anchor.Value
	}
	return t
}

// plain takes a node's anchor off and follows an alias to its node; nil where that is missing or leads to another alias.
func (t *tree) plain(node ast.Node) ast.Node {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	alias, ok := node.(*ast.AliasNode)
	if !ok {
		return node
	}
	node = t.anchors[alias.Value.GetToken().Value]
	switch node.(type) {
	case *ast.AliasNode, *ast.AnchorNode:
		return nil
	}
	return node
}

// fill lays the node over the target. All mistakes are reported at once.
func (t *tree) fill(target reflect.Value, node ast.Node, s spot) error {
	plain := t.plain(node)
	switch plain := plain.(type) {
	case nil:
		return t.errorf(s, "%s leads to nothing", node)
	case *ast.NullNode:
		return nil
	case *ast.TagNode:
		return t.errorf(s, "YAML tags such as %s are not read here; write the value without it", plain.Start.Value)
	}
	if target.Type() == reflect.TypeFor[ast.Node]() {
		target.Set(reflect.ValueOf(plain))
		return nil
	}
	if _, own := target.Addr().Interface().(yaml.BytesUnmarshaler); !own {
		switch target.Kind() {
		case reflect.Struct:
			return t.fillStruct(target, plain, s)
		case reflect.Slice:
			return t.fillList(target, plain, s)
		case reflect.Map:
			return t.fillMap(target, plain, s)
		}
	}
	scalar, ok := plain.(ast.ScalarNode)
	if !ok {
		return t.errorf(s, "is %s; one value is wanted", kindOf(plain))
	}
	if err := setScalar(target, textOf(scalar)); err != nil {
		return t.errorf(spot{s.path, placeOf(plain, s.at)}, "%w", err)
	}
	return nil
}

func (t *tree) fillStruct(target reflect.Value, node ast.Node, s spot) error {
	fields := map[string]reflect.Value{}
	for field, value := range target.Fields() {
		if name := yamlName(field); name != "" {
			fields[name] = value
		}
	}
	pairs, err := t.pairs(node, s)
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range pairs {
		within := s.key(p.key, p.at)
		t.places[within.path] = p.at
		field, known := fields[p.key]
		if !known {
			failed = append(failed, t.errorf(spot{at: p.at}, "%s", unknownKey(within.path, target.Type())))
			continue
		}
		failed = append(failed, t.fill(field, p.value, within))
	}
	return errors.Join(failed...)
}

func (t *tree) fillList(target reflect.Value, node ast.Node, s spot) error {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return t.errorf(spot{s.path, placeOf(node, s.at)}, "is %s; a list is wanted", kindOf(node))
	}
	fresh := reflect.MakeSlice(target.Type(), len(list.Values), len(list.Values))
	var failed []error
	for n, value := range list.Values {
		within := s.element(n, value)
		if _, empty := t.plain(value).(*ast.NullNode); empty {
			failed = append(failed, t.errorf(within, "has no value"))
			continue
		}
		failed = append(failed, t.fill(fresh.Index(n), value, within))
	}
	if target.SetZero(); len(list.Values) > 0 {
		target.Set(fresh)
	}
	return errors.Join(failed...)
}

// fillMap adds to a copy: the map that stands there may be another layer's too.
func (t *tree) fillMap(target reflect.Value, node ast.Node, s spot) error {
	pairs, err := t.pairs(node, s)
	if err != nil {
		return err
	}
	fresh := reflect.MakeMap(target.Type())
	for _, key := range target.MapKeys() {
		fresh.SetMapIndex(key, target.MapIndex(key))
	}
	var failed []error
	for _, p := range pairs {
		within := s.key(p.key, p.at)
		t.places[within.path] = p.at
		value := reflect.New(target.Type().Elem()).Elem()
		if _, empty := t.plain(p.value).(*ast.NullNode); empty && value.Kind() == reflect.String {
			failed = append(failed, t.errorf(within, `has no value; write "" where it shall be empty`))
			continue
		}
		failed = append(failed, t.fill(value, p.value, within))
		if value.Kind() != reflect.Interface || !value.IsNil() {
			fresh.SetMapIndex(reflect.ValueOf(p.key), value)
		}
	}
	if fresh.Len() > 0 {
		target.Set(fresh)
	}
	return errors.Join(failed...)
}

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	at    *token.Position
	value ast.Node
}

// maxMerges is more than any configuration needs.
const maxMerges = 100

// pairs lists a mapping's keys in their order. What is merged into it with << comes last and never replaces a key of its own.
func (t *tree) pairs(node ast.Node, s spot) ([]pair, error) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil, t.errorf(spot{s.path, placeOf(node, s.at)}, "is %s; keys with values are wanted", kindOf(node))
	}
	var own []pair
	var merged []ast.Node
	for each := mapping.MapRange(); each.Next(); {
		key := each.Key()
		if _, merge := key.(*ast.MergeKeyNode); merge {
			merged = append(merged, each.Value())
			continue
		}
		scalar, ok := key.(ast.ScalarNode)
		if !ok {
			return nil, t.errorf(s, "%s cannot be a key", key)
		}
		own = append(own, pair{textOf(scalar), scalar.GetToken().Position, each.Value()})
	}
	for len(merged) > 0 {
		from := t.plain(merged[0])
		merged = merged[1:]
		if list, ok := from.(*ast.SequenceNode); ok {
			merged = append(slices.Clone(list.Values), merged...)
			continue
		}
		if t.merges++; from == nil || t.merges > maxMerges {
			return nil, t.errorf(s, "<< leads to nothing, or too far")
		}
		more, err := t.pairs(from, s)
		if err != nil {
			return nil, err
		}
		for _, p := range more {
			if !slices.ContainsFunc(own, func(o pair) bool { return o.key == p.key }) {
				own = append(own, p)
			}
		}
	}
	return own, nil
}

func yamlName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return name
}
