package traffic_test

import (
	"encoding/json"
	"maps"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// deepCopy takes a value through JSON, as the journal and `status --json` do.
func deepCopy[T any](t require.TestingT, v T) T {
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var c T
	require.NoError(t, json.Unmarshal(text, &c))
	return c
}

// sameButNumbers compares two states by their JSON, without what the judge counted and said.
func sameButNumbers(a, b traffic.State) bool { return plain(a) == plain(b) }

func plain(s traffic.State) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		panic(err)
	}
	strip(tree)
	text, err = json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// strip keeps of each verdict its decision and rule, and of each hold that there is one.
func strip(tree any) {
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			strip(child)
		}
	case map[string]any:
		if _, ok := node["decision"]; ok {
			maps.DeleteFunc(node, func(key string, _ any) bool { return key != "decision" && key != "rule" })
		}
		if _, ok := node["holding"]; ok {
			node["holding"] = "held"
		}
		for _, child := range node {
			strip(child)
		}
	}
}
