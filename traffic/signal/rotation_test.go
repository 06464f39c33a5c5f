package signal

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rotation is a bench whose log is renamed and reopened while one or two workers of nginx write.
type rotation struct {
	*bench
	// writers wrote to one inode each, the newest last. Those before the live one have been reopened.
	writers []*os.File
	live    int
	// named tells that path exists, and fresh that nothing was written there yet.
	named, fresh bool
	read         []int
}

func (r *rotation) look(t *rapid.T) {
	batch, got := r.poll()
	require.False(t, batch.Gap)
	r.read = append(r.read, got...)
}

func (r *rotation) writeLine(t *rapid.T) {
	last := len(r.writers) - 1
	i := rapid.IntRange(max(r.live, last-1), last).Draw(t, "writer")
	text := r.next()
	cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
	r.write(r.writers[i], text[:cut])
	if rapid.Bool().Draw(t, "look between") {
		r.look(t)
	}
	r.write(r.writers[i], text[cut:])
	r.fresh = r.fresh && i != last
}

func (r *rotation) renameLog(t *rapid.T) {
	r.look(t) // a file that comes and goes between two looks is never seen
	if r.named {
		r.rename(fmt.Sprint(".", len(r.writers)))
	}
	r.named = false
}

func (r *rotation) reopenLog(t *rapid.T) {
	r.look(t)
	if !r.named {
		r.writers = append(r.writers, r.create())
		r.fresh = true
	}
	r.named = true
}

// wait is long enough for every worker to have reopened the log, if one has.
func (r *rotation) wait(t *rapid.T) {
	r.look(t)
	r.now = r.now.Add(quietAfter)
	r.look(t)
	if !r.fresh {
		r.live = len(r.writers) - 1
	}
}

// TestEveryLineOnce holds, over random interleavings of writers, renames and looks, that each line is read exactly once.
func TestEveryLineOnce(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(folder, "")
		require.NoError(t, err)
		r := rotation{bench: newBench(t, dir), named: true, read: []int{}}
		r.step = 0
		r.writers = []*os.File{r.create()}
		defer func() {
			r.tail.close()
			for _, f := range r.writers {
				_ = f.Close()
			}
		}()
		r.requireLines()
		t.Repeat(map[string]func(*rapid.T){
			"look": r.look, "write": r.writeLine, "rename": r.renameLog, "reopen": r.reopenLog, "wait": r.wait,
		})
		r.look(t)
		slices.Sort(r.read)
		want := []int{}
		for serial := range r.serial {
			want = append(want, serial+1)
		}
		require.Equal(t, want, r.read)
	})
}
