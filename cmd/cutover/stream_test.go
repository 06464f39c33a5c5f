package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func (s *stream) counted() *stream {
	s.loosen(func(lines int) string { return fmt.Sprintf("%d lost\n", lines) })
	return s
}

// Until it is loosened a stream is its writer: what `cutover history | less` shows waits for the reader.
func TestStream_WaitsForItsReaderAtFirst(t *testing.T) {
	read, write := io.Pipe()
	s := &stream{to: write}
	var text []byte
	var reading sync.WaitGroup
	reading.Go(func() { text, _ = io.ReadAll(read) })
	for n := range 3 * queued {
		_, err := fmt.Fprintln(s, n)
		require.NoError(t, err)
	}
	s.end(time.Hour)
	require.NoError(t, write.Close())
	reading.Wait()
	require.Equal(t, 3*queued, bytes.Count(text, []byte("\n")))
}

// A reader who stops keeps nobody: whole lines are dropped, and counted where they would have stood.
func TestStream_NeverWaitsOnceLoosened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		s := (&stream{to: write}).counted()
		for n := range queued + 500 {
			fmt.Fprintln(s, n)
			if n == 0 {
				synctest.Wait() // the first is on its way to the reader
			}
		}
		lines := make(chan string, 3*queued)
		go func() {
			text, _ := io.ReadAll(read)
			for line := range strings.Lines(string(text)) {
				lines <- line
			}
			close(lines)
		}()
		synctest.Wait()
		fmt.Fprintln(s, "he reads again")
		s.end(time.Hour)
		require.NoError(t, write.Close())
		for n := range queued + 1 {
			require.Equal(t, fmt.Sprintln(n), <-lines)
		}
		require.Equal(t, "499 lost\n", <-lines)
		require.Equal(t, "he reads again\n", <-lines)
		require.Empty(t, <-lines)
	})
}

// At the end a slow reader gets everything, and one who takes nothing is not waited for.
func TestStream_End(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		s := (&stream{to: write}).counted()
		for range 3 {
			fmt.Fprintln(s, "line")
		}
		began, got := time.Now(), 0
		var reading sync.WaitGroup
		reading.Go(func() {
			for text := make([]byte, len("line\n")); ; got++ {
				time.Sleep(4 * time.Second)
				if _, err := read.Read(text); err != nil {
					return
				}
			}
		})
		s.end(5 * time.Second)
		require.Equal(t, 12*time.Second, time.Since(began))
		require.NoError(t, write.Close())
		reading.Wait()
		require.Equal(t, 3, got)
	})
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		s := (&stream{to: write}).counted()
		fmt.Fprintln(s, "never read")
		began := time.Now()
		s.end(5 * time.Second)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.NoError(t, read.Close())
	})
}

// What is said in the place of dropped lines is for whoever reads there: text, a line of --events, nothing beside a document.
func TestOutput_SaysWhatItDropped(t *testing.T) {
	for f, want := range map[format]string{
		forPeople: "(7 lines were dropped: nobody read them)\n", forScripts: "", forFollower: `{"event":"lines-dropped","lines":7}` + "\n",
	} {
		out, aside := &stream{to: io.Discard}, &stream{to: io.Discard}
		o := &output{format: f, stdout: out, stderr: aside}
		o.loosen()
		require.Equal(t, want, out.lost(7))
		require.Equal(t, "(7 lines were dropped: nobody read them)\n", aside.lost(7))
		o.end()
	}
}
