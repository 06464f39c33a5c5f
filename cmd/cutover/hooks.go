package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// keptOutputs is how many hooks' outputs are kept, the newest.
const keptOutputs = 200

// keepOutput writes what a hook has said into the state folder, named by the time and by which hook of which release it was.
func (s *session) keepOutput(name string, output []byte) error {
	dir := filepath.Join(s.dir, "hooks")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	name = strings.NewReplacer("/", "_", "[", "-", "]", "").Replace(name)
	file := fmt.Sprintf("%s-%s.log", s.now().UTC().Format("20060102T150405.000000000Z"), name)
	if err := renameio.WriteFile(filepath.Join(dir, file), output, 0o640); err != nil {
		return err
	}
	all, err := os.ReadDir(dir) // sorted by name, and so by time
	if err != nil {
		return err
	}
	for _, old := range all[:max(0, len(all)-keptOutputs)] {
		_ = os.Remove(filepath.Join(dir, old.Name())) // it is tried again with the next one
	}
	return nil
}
