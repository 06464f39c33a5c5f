package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the tests got over what they want")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cutover": main, "app": app})
}
