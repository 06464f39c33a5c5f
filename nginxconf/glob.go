package nginxconf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isPattern tells whether nginx would hand the path to glob(3).
func isPattern(path string) bool { return strings.ContainsAny(path, "*?[") }

// expandPattern lists what glob(3) finds for an absolute pattern, sorted by bytes over the whole paths. Unlike Go's own
// Glob it sorts across folders, knows [!x], and lets no wildcard match a leading dot.
func (v view) expandPattern(pattern string) ([]string, error) {
	if strings.Contains(pattern, "[:") || strings.Contains(pattern, "[.") || strings.Contains(pattern, "[=") {
		return nil, fmt.Errorf("classes such as [:alpha:] are not understood here")
	}
	found := []string{""}
	for part := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, folder := range found {
			names, err := v.matches(folder, part)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				next = append(next, folder+"/"+name)
			}
		}
		found = next
	}
	slices.Sort(found)
	return found, nil
}

// matches lists the names in the folder that one part of a pattern means. A folder that cannot be listed has none, as in glob(3).
func (v view) matches(folder, part string) ([]string, error) {
	if !isPattern(part) {
		name := strings.ReplaceAll(part, `\`, "")
		if _, err := os.Lstat(v.entry(folder + "/" + name)); err != nil {
			return nil, nil
		}
		return []string{name}, nil
	}
	part = strings.ReplaceAll(part, "[!", "[^")
	if _, err := filepath.Match(part, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", part, err)
	}
	real, err := v.real(folder + "/")
	if err != nil {
		return nil, nil
	}
	entries, _ := os.ReadDir(v.root + real)
	var names []string
	for _, e := range entries {
		hidden := strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(part, ".")
		if ok, _ := filepath.Match(part, e.Name()); ok && !hidden {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
