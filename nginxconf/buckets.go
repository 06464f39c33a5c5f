package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"cutover/traffic"
)

// buckets are the folders sets of one app: what a share is made of where it changes without a reload. Each request is drawn into one of
// count buckets; the set of a share is a folder with a file for each bucket that the candidate gets, the lowest ones first, so that a
// growing share never takes a bucket back. Invariant: a set that has its name is whole, and never changes.
type buckets struct {
	root string
	// count is 100 or 1000.
	count int
}

// of is how many buckets make the share, rounded towards stable: nobody gets more than was asked for. One is the least that a share can
// be made of; see Proxy.Exact.
func (b buckets) of(w traffic.Weight) int {
	if w == 0 {
		return 0
	}
	return max(int(w)*b.count/int(traffic.Full), 1)
}

// weight is the share that so many buckets make.
func (b buckets) weight(n int) traffic.Weight { return traffic.Weight(n * int(traffic.Full) / b.count) }

// name is what nginx calls the bucket, from 0: as many digits as the last one has.
func (b buckets) name(bucket int) string {
	return fmt.Sprintf("%0*d", len(strconv.Itoa(b.count-1)), bucket)
}

// set is the folder of the share of n buckets, as seen from the app's folder.
func (b buckets) set(n int) string {
	return filepath.Join("sets", strconv.Itoa(b.count), fmt.Sprintf("%04d", n))
}

// sized reads how many buckets a set has from its path.
func (b buckets) sized(path string) (int, error) {
	n, err := strconv.Atoi(filepath.Base(path))
	if err != nil || n < 1 || n > b.count || filepath.Base(filepath.Dir(path)) != strconv.Itoa(b.count) {
		return 0, fmt.Errorf("%s is no set of %d buckets", path, b.count)
	}
	return n, nil
}

// make has the set on disk when it returns. The files are one file under many names: a set takes one inode.
func (b buckets) make(n int) error {
	path := filepath.Join(b.root, b.set(n))
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	parent, aside := filepath.Dir(path), path+".new"
	err := os.MkdirAll(parent, 0o755)
	if err == nil {
		err = errors.Join(os.RemoveAll(aside), makeFolder(aside, 0o755)) // left by one that was killed
	}
	first := filepath.Join(aside, b.name(0))
	if err == nil {
		err = writeSynced(first, nil, 0o644)
	}
	for bucket := 1; bucket < n && err == nil; bucket++ {
		err = os.Link(first, filepath.Join(aside, b.name(bucket)))
	}
	if err == nil {
		err = errors.Join(syncFolder(aside), os.Rename(aside, path))
	}
	if errors.Is(err, fs.ErrExist) {
		return os.RemoveAll(aside) // somebody else has made the same
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make %s: %w", path, err), os.RemoveAll(aside))
	}
	return syncFolder(parent)
}

// lines are what split_clients takes: one part each, and the last one takes the rest.
func (b buckets) lines() []string {
	part := fmt.Sprintf("%g%%", 100/float64(b.count))
	all := make([]string, 0, b.count)
	for n := range b.count - 1 {
		all = append(all, part+" "+b.name(n))
	}
	return append(all, "* "+b.name(b.count-1))
}
