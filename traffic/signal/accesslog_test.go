package signal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cutover/traffic/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an access log in a folder of its own, a tail on it, and a clock that moves by hand.
type bench struct {
	t      require.TestingT
	path   string
	log    *AccessLog
	tail   tail
	now    time.Time
	step   time.Duration
	serial int
}

func newBench(t require.TestingT, folder string) *bench {
	path := filepath.Join(folder, "cutover-shop.log")
	start := time.Unix(1700000000, 0)
	log := OpenAccessLog(path, testReading, func() time.Time { return start })
	return &bench{t: t, path: path, log: log, tail: newTail(log), now: start, step: pollEvery}
}

// line is a whole line whose sample can be told by its time: serial milliseconds.
func (b *bench) line(serial int) string { return b.padded(serial, 0) }

// padded is a line with so many bytes more in it.
func (b *bench) padded(serial, more int) string {
	return fmt.Sprintf(`{"ts":"%d.%03d","app":"shop","status":200,"us":"200","ua":"%s","note":"%s"}`+"\n",
		serial/1000, serial%1000, stableAddress, strings.Repeat("x", more))
}

// next is a line that was not written before.
func (b *bench) next() string {
	b.serial++
	return b.line(b.serial)
}

// create opens the log as nginx does, so that what is written goes to its end.
func (b *bench) create() *os.File {
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	require.NoError(b.t, err)
	return f
}

func (b *bench) write(f *os.File, text string) {
	_, err := f.WriteString(text)
	require.NoError(b.t, err)
}

// poll lets one step go by, 50 ms if not said otherwise, and gives the batch, with the serials of its lines.
func (b *bench) poll() (verdict.Batch, []int) {
	b.now = b.now.Add(b.step)
	batch := b.tail.poll(b.now)
	require.True(b.t, batch.Now.Equal(b.now))
	serials := []int{}
	for _, s := range batch.Samples {
		serials = append(serials, int(s.At.UnixMilli()))
	}
	return batch, serials
}

// requireLines polls once and wants exactly these lines, without a gap.
func (b *bench) requireLines(serials ...int) {
	batch, got := b.poll()
	require.Equal(b.t, append([]int{}, serials...), got)
	require.False(b.t, batch.Gap)
	require.Zero(b.t, batch.Behind)
	require.Empty(b.t, batch.Fault)
}

func (b *bench) rename(to string) string {
	target := b.path + to
	require.NoError(b.t, os.Rename(b.path, target))
	return target
}

// open starts a bench on a log with one old line in it, which must not be read.
func open(t *testing.T) (*bench, *os.File) {
	b := newBench(t, t.TempDir())
	f := b.create()
	t.Cleanup(func() { _ = f.Close(); b.tail.close() })
	b.write(f, b.line(999))
	b.requireLines()
	return b, f
}

func TestStartsAtTheEnd(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next()+b.next())
	b.requireLines(1, 2)
	b.requireLines()
}

func TestStartsInTheMiddleOfALine(t *testing.T) {
	b := newBench(t, t.TempDir())
	defer b.tail.close()
	f := b.create()
	defer f.Close()
	old := b.line(999)
	b.write(f, old[:20])
	b.requireLines()
	b.write(f, old[20:]+b.next())
	b.requireLines(1)
	require.Zero(t, b.log.Foreign())
}

func TestFileThatAppearsLaterIsReadFromItsStart(t *testing.T) {
	b := newBench(t, t.TempDir())
	defer b.tail.close()
	b.requireLines()
	f := b.create()
	defer f.Close()
	b.write(f, b.next())
	b.requireLines(1)
}

func TestForeignLinesAreCounted(t *testing.T) {
	b, f := open(t)
	b.write(f, strings.Replace(b.next(), `"shop"`, `"shop2"`, 1)+"garbage\n\n"+strings.Replace(b.next(), `"us":"200"`, `"us":"200, 200"`, 1))
	b.write(f, b.next())
	b.requireLines(3)
	require.EqualValues(t, 4, b.log.Foreign())
}

func TestPartialLines(t *testing.T) {
	b, f := open(t)
	text := b.next() + b.next()
	got := []int{}
	for i := range len(text) {
		b.write(f, text[i:i+1])
		batch, serials := b.poll()
		require.False(t, batch.Gap)
		require.Zero(t, batch.Behind)
		got = append(got, serials...)
		require.Equal(t, strings.Count(text[:i+1], "\n"), len(got))
	}
	require.Equal(t, []int{1, 2}, got)
}

func TestLongLines(t *testing.T) {
	b, f := open(t)
	for serial, more := range []int{64 << 10, readChunk - 200, readChunk, longestLine - 200} {
		b.write(f, b.padded(serial, more))
		b.requireLines(serial)
	}

	b.write(f, b.next()+b.padded(5, longestLine)) // longer than can be kept: lost, and said
	batch, got := b.poll()
	require.Equal(t, []int{1}, got)
	require.True(t, batch.Gap)
	b.write(f, b.next())
	b.requireLines(2)
	require.Zero(t, b.log.Foreign())
}

func TestRenameWhileTheOldWriterGoesOn(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next()+b.line(2)[:15])
	b.rename(".1")
	b.requireLines(1)
	b.write(f, b.line(2)[15:]+b.line(3)) // no file under the name yet
	b.requireLines(2, 3)
	fresh := b.create()
	defer fresh.Close()
	b.write(f, b.line(4))
	b.requireLines(4)
	for range 2 * int(quietAfter/pollEvery) { // the hook that makes nginx reopen its log may run long after the rename
		b.requireLines()
	}
	b.write(f, b.line(5))
	b.requireLines(5)
	b.write(fresh, b.line(7)) // one worker has reopened, another one is late
	b.write(f, b.line(6))
	b.requireLines(6, 7)
	b.write(f, b.line(8))
	b.requireLines(8)
	for range int(quietAfter / pollEvery) {
		b.requireLines()
	}
	require.Len(t, b.tail.files, 1, "the old file was given up")
	b.write(fresh, b.line(9))
	b.requireLines(9)
}

func TestOldFileThatEndsInTheMiddleOfALine(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next()[:15])
	b.rename(".1")
	fresh := b.create()
	defer fresh.Close()
	b.write(fresh, b.next())
	b.requireLines(2)
	gaps := 0
	for range int(quietAfter / pollEvery) {
		if batch, _ := b.poll(); batch.Gap {
			gaps++
		}
	}
	require.Equal(t, 1, gaps)
}

func TestMovedAwayAndBack(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next())
	moved := b.rename(".1")
	b.requireLines(1)
	fresh := b.create()
	defer fresh.Close()
	b.write(fresh, b.next())
	b.requireLines(2)
	require.NoError(t, os.Rename(moved, b.path))
	for range 2 * int(quietAfter/pollEvery) {
		b.requireLines()
	}
	b.write(f, b.line(3))
	b.requireLines(3)
}

func TestRotatedTwiceWithNothingBetween(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next())
	for i := range 2 {
		b.rename(fmt.Sprint(".", i))
		fresh := b.create()
		defer fresh.Close()
		b.requireLines([]int{1}[i:]...)
		if i == 1 {
			b.write(fresh, b.next())
			b.requireLines(2)
		}
	}
	for range int(quietAfter / pollEvery) {
		b.requireLines()
	}
	require.Len(t, b.tail.files, 1, "files that nothing comes to any more are closed")
}

func TestTruncation(t *testing.T) {
	b, f := open(t)
	b.write(f, b.next()+b.next()+b.line(7)[:15])
	b.requireLines(1, 2)
	require.NoError(t, f.Truncate(0))
	b.write(f, b.line(3))
	batch, got := b.poll()
	require.True(t, batch.Gap, "what was written between the last look and the truncation is lost")
	require.Equal(t, []int{3}, got)
	b.write(f, b.line(4))
	b.requireLines(4)
}

func TestVanishAndReturn(t *testing.T) {
	b, f := open(t)
	require.NoError(t, os.Remove(b.path))
	b.write(f, b.next()) // nginx still has it open
	b.requireLines(1)
	for range int(faultAfter/pollEvery) - 1 {
		b.requireLines()
	}
	batch, _ := b.poll()
	require.Contains(t, batch.Fault, b.path)
	fresh := b.create()
	defer fresh.Close()
	b.write(fresh, b.line(2))
	b.requireLines(2)
}

func TestUnreadable(t *testing.T) {
	for name, block := range map[string]func(t *testing.T, path string){
		"folder": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o755)) },
		"device": func(t *testing.T, path string) { require.NoError(t, os.Symlink(os.DevNull, path)) },
		"loop":   func(t *testing.T, path string) { require.NoError(t, os.Symlink(path, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, t.TempDir())
			defer b.tail.close()
			block(t, b.path)
			batch := verdict.Batch{}
			for range int(faultAfter / pollEvery) {
				require.Empty(t, batch.Fault)
				batch, _ = b.poll()
			}
			require.Contains(t, batch.Fault, b.path)
			require.NoError(t, os.Remove(b.path))
			require.NoError(t, os.WriteFile(b.path, []byte(b.next()), 0o644))
			batch, got := b.poll()
			require.Empty(t, got, "it was there before, so that nobody knows which of its lines are old")
			require.True(t, batch.Gap)
			require.Empty(t, batch.Fault)
		})
	}
}

func TestBehind(t *testing.T) {
	b, f := open(t)
	b.now = time.UnixMilli(1).Add(time.Minute)
	b.write(f, strings.Repeat(b.padded(1, 4000), 3*readPerPoll/4000))
	lines := 0
	for late := true; late; {
		batch, got := b.poll()
		require.NotEmpty(t, got)
		require.LessOrEqual(t, len(got)*4000, readPerPoll+longestLine)
		lines += len(got)
		late = batch.Behind > 0
		if late {
			require.Equal(t, b.now.Sub(time.UnixMilli(1)), batch.Behind)
		}
	}
	require.Equal(t, 3*readPerPoll/4000, lines)
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cutover-shop.log")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, filepath.Dir(path))
		f := b.create()
		defer f.Close()
		b.write(f, b.line(999))
		ctx, cancel := context.WithCancel(t.Context())
		batches := make(chan verdict.Batch)
		ended := make(chan error)
		go func() {
			log := OpenAccessLog(path, testReading, time.Now)
			ended <- log.Follow(ctx, func(batch verdict.Batch) { batches <- batch })
		}()

		first := <-batches
		require.Empty(t, first.Samples)
		require.Equal(t, time.Now(), first.Now)
		b.write(f, b.next())
		second := <-batches
		require.Equal(t, "stable+", outcomes(second.Samples))
		third := <-batches
		require.Empty(t, third.Samples, "silence has a clock too")
		require.Equal(t, "stable+", outcomes(second.Samples), "samples are their reader's to keep")
		require.Equal(t, 2*pollEvery, third.Now.Sub(first.Now))

		cancel()
		require.NoError(t, <-ended)
	})
}
