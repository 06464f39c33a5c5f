package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	sumBegin = `,"sum":"`
	sumEnd   = `"}`
	// sumLength is what the checksum takes at the end of each line, before the newline.
	sumLength = len(sumBegin) + 2*sha256.Size + len(sumEnd)
	// sectorSize is the least that a disk writes at once, in bytes.
	sectorSize = 512
	// tailWindow is how much of a file's end an append reads at first; it is doubled until an entry is in it.
	tailWindow = 4 << 10
)

// seal gives the line of an entry, newline and checksum included, and the entry as readers will get it from there.
func seal(e Entry) ([]byte, Entry, error) {
	e.Sum = ""
	line, err := json.Marshal(e)
	if err != nil {
		return nil, Entry{}, err
	}
	line = bytes.TrimSuffix(line, []byte(sumBegin+sumEnd))
	line = fmt.Appendf(line, "%s%s%s\n", sumBegin, sumOf(line), sumEnd)
	e, err = unseal(line[:len(line)-1])
	return line, e, err
}

// unseal reads a line without its newline. Its error says why the line is not whole.
func unseal(line []byte) (Entry, error) {
	at := len(line) - sumLength
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(sumBegin)) || !bytes.HasSuffix(line, []byte(sumEnd)) {
		return Entry{}, errors.New("it does not end in a checksum")
	}
	var e Entry
	if stated := line[at+len(sumBegin) : len(line)-len(sumEnd)]; string(stated) != sumOf(line[:at]) {
		return Entry{}, errors.New("its checksum does not match")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, fmt.Errorf("it is not an entry: %w", err)
	}
	if e.Seq == 0 {
		return Entry{}, errors.New("it is not an entry: it has no seq")
	}
	return e, nil
}

// sumOf takes the line up to its checksum, closes the object, and sums that.
func sumOf(open []byte) string {
	h := sha256.New()
	h.Write(open)
	h.Write([]byte("}"))
	return hex.EncodeToString(h.Sum(nil))
}

// settled gives the data without its torn tail.
func settled(data []byte) []byte {
	end := bytes.LastIndexByte(data, '\n') + 1
	start := bytes.LastIndexByte(data[:max(end-1, 0)], '\n') + 1
	if unwritten(data[start:end]) {
		return data[:start]
	}
	return data[:end]
}

// unwritten tells a line that has its newline but was never synced: blocks that were allocated and not written are
// NUL, from the line's begin or for a whole sector. A single NUL is no such hole, but damage to a line that counts.
func unwritten(line []byte) bool {
	return bytes.HasPrefix(line, []byte{0}) || bytes.Contains(line, make([]byte, sectorSize))
}

// replay collects the entries of a journal, file by file, and checks that each follows the one before it.
type replay struct {
	// entries are whole. Invariant: their Seq ascends.
	entries []Entry
	// fault is the first damage that was met; whether entries behind it follow each other is not told any more.
	fault *CorruptError
	last  Entry
}

// add takes the settled lines of one file.
func (r *replay) add(path string, data []byte) {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		e, err := unseal(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			r.damaged(path, number, err)
			continue
		}
		if err := r.follows(e); err != nil {
			r.damaged(path, number, err)
		}
		if e.Seq > r.last.Seq {
			r.entries, r.last = append(r.entries, e), e
		}
	}
}

func (r *replay) follows(e Entry) error {
	switch {
	case e.Seq <= r.last.Seq:
		return fmt.Errorf("entry %d stands behind entry %d", e.Seq, r.last.Seq)
	case r.last.Seq == 0: // the first of all, older files having been moved away perhaps
		return nil
	case e.Seq != r.last.Seq+1:
		return fmt.Errorf("entries %d to %d are missing before it", r.last.Seq+1, e.Seq-1)
	case e.Prev != r.last.Sum:
		return fmt.Errorf("it does not follow entry %d as that stands here", r.last.Seq)
	}
	return nil
}

func (r *replay) damaged(path string, line int, why error) {
	if r.fault == nil {
		r.fault = &CorruptError{Path: path, Line: line, Why: why.Error()}
	}
}

// tail is what the next append has to know about the end of a file.
type tail struct {
	// last is the last whole entry; zero where there is none.
	last Entry
	// broken counts the lines behind last.
	broken uint64
	// length is the size of the file in bytes without its torn tail.
	length int64
}

// next is the seq of the next entry. Broken lines keep theirs: a watcher may have seen them while they were whole.
func (t tail) next() uint64 { return t.last.Seq + t.broken + 1 }

// readTail looks at the end of a file of that size, as far back as to the last whole entry.
func readTail(f io.ReaderAt, size int64) (tail, error) {
	for window := int64(tailWindow); ; window *= 2 {
		start := max(0, size-window)
		data := make([]byte, size-start)
		if _, err := f.ReadAt(data, start); err != nil && !errors.Is(err, io.EOF) {
			return tail{}, err
		}
		if start > 0 {
			data = data[bytes.IndexByte(data, '\n')+1:] // the window opened in the middle of a line
		}
		lines := settled(data)
		t := tail{length: size - int64(len(data)-len(lines))}
		t.look(lines)
		if t.last.Seq > 0 || start == 0 {
			return t, nil
		}
	}
}

// look goes back from the last line to the last whole entry: of what lies before it the next append has nothing to know.
func (t *tail) look(lines []byte) {
	for len(lines) > 0 {
		start := bytes.LastIndexByte(lines[:len(lines)-1], '\n') + 1
		e, err := unseal(bytes.TrimSuffix(lines[start:], []byte("\n")))
		if err == nil {
			t.last = e
			return
		}
		t.broken++
		lines = lines[:start]
	}
}
