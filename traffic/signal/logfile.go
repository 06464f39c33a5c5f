package signal

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"time"
)

const (
	// readChunk is what one read asks for, and the least size of a buffer.
	readChunk = 256 << 10
	// longestLine bounds the memory that one line may take; nginx's own lines stay far below.
	longestLine = 1 << 20
)

// logFile is one inode of the log, read forward line by line, whatever its name becomes.
type logFile struct {
	file *os.File
	info os.FileInfo
	// offset is how many bytes of the file were read.
	offset int64
	// buffer[:begun] is the beginning of a line whose end was not read yet.
	buffer []byte
	begun  int
	// skipping tells that the line being read is not to be used: it began before us, or is too long.
	skipping bool
	// firstRead and lastRead are when bytes came. Invariant: zero until some did.
	firstRead, lastRead time.Time
}

// openAtStart opens the file at path to read all of it.
func openAtStart(path string) (*logFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &logFile{file: file, info: info, buffer: make([]byte, readChunk)}, nil
}

// openAtEnd opens the file at path to read the lines that begin from now on.
func openAtEnd(path string) (*logFile, error) {
	f, err := openAtStart(path)
	if err != nil || f.info.Size() == 0 {
		return f, err
	}
	f.offset = f.info.Size()
	last := make([]byte, 1)
	n, err := f.file.ReadAt(last, f.offset-1)
	if err != nil && !errors.Is(err, io.EOF) {
		f.close()
		return nil, err
	}
	f.skipping = n == 1 && last[0] != '\n'
	return f, nil
}

// close ends the reading. A file that is only read from has nothing to lose by it, so that its error tells nothing.
func (f *logFile) close() { _ = f.file.Close() }

// progress is what one look at a file gave.
type progress struct {
	// read counts bytes; unread counts those that the file held besides.
	read, unread int64
	// gap tells that lines are lost.
	gap bool
}

// advance hands each line that is complete to use, without its newline, reading about as many bytes as budget says and
// never beyond the size that the file has when it is called. The line's bytes are use's only until it returns.
// Errors name the file.
func (f *logFile) advance(budget int64, now time.Time, use func(line []byte)) (progress, error) {
	var p progress
	info, err := f.file.Stat()
	if err != nil {
		return p, err
	}
	if info.Size() < f.offset { // cut short in place: what was written since our last look is gone
		f.offset, f.begun, f.skipping, p.gap = 0, 0, false, true
	}
	for f.offset < info.Size() && p.read < budget {
		p.gap = f.makeRoom() || p.gap
		n, err := f.file.ReadAt(f.buffer[f.begun:], f.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return p, err
		}
		if n == 0 { // cut short meanwhile; the next look tells
			return p, nil
		}
		f.offset += int64(n)
		p.read += int64(n)
		f.firstRead, f.lastRead = cmp.Or(f.firstRead, now), now
		f.split(f.begun+n, use)
	}
	p.unread = max(0, info.Size()-f.offset)
	return p, nil
}

// makeRoom sees to it that the buffer can take more; true when the line in it had to be given up for that.
func (f *logFile) makeRoom() bool {
	if f.begun < len(f.buffer) {
		return false
	}
	if len(f.buffer) < longestLine {
		f.buffer = append(f.buffer, make([]byte, len(f.buffer))...)
		return false
	}
	f.begun, f.skipping = 0, true
	return true
}

// split hands out the lines in buffer[:end] and keeps the beginning of the last one.
// It searches only what is new, so that a line that comes byte by byte costs no more than one that comes at once.
func (f *logFile) split(end int, use func(line []byte)) {
	start, search := 0, f.begun
	for {
		i := bytes.IndexByte(f.buffer[search:end], '\n')
		if i < 0 {
			break
		}
		if !f.skipping {
			use(f.buffer[start : search+i])
		}
		f.skipping = false
		start = search + i + 1
		search = start
	}
	if f.skipping {
		start = end
	}
	f.begun = end - start
	if start > 0 {
		copy(f.buffer, f.buffer[start:end])
	}
}
