package journal

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is what a journal must look like from outside, after any sequence of appends, crashes, rotations and damage.
type model struct {
	journal *Journal
	// lines are all that were ever acknowledged, whether they are whole still or not.
	lines []modelLine
	// begin is the number of lines that are rotated away.
	begin int
}

type modelLine struct {
	event  string
	broken bool
}

func (m *model) Append(t *rapid.T) {
	event := rapid.String().Draw(t, "event")
	e := add(t, m.journal, event)
	require.Equal(t, uint64(len(m.lines)+1), e.Seq)
	kept, err := json.Marshal(event)
	require.NoError(t, err)
	m.lines = append(m.lines, modelLine{event: string(kept)})
}

// CrashInAppend leaves a part of a line that was never acknowledged.
func (m *model) CrashInAppend(t *rapid.T) {
	line, _, err := seal(Entry{Seq: uint64(len(m.lines) + 1), Actor: "dying", Event: json.RawMessage("0")})
	require.NoError(t, err)
	m.Check(t)
	before, _ := os.ReadFile(m.journal.active())
	kept := rapid.IntRange(0, len(line)-1).Draw(t, "kept")
	// An earlier crash may have left a tail; the next append would have cut it before it came so far.
	torn := append(settled(before), line[:kept]...)
	require.NoError(t, os.WriteFile(m.journal.active(), torn, 0o640))
}

func (m *model) Rotate(t *rapid.T) {
	require.NoError(t, m.journal.Rotate())
	m.begin = len(m.lines)
}

func (m *model) Reopen(t *rapid.T) {
	j, err := Open(m.journal.dir, m.journal.clock)
	require.NoError(t, err)
	m.journal = j
}

// Damage flips a byte of a line in the active file.
func (m *model) Damage(t *rapid.T) {
	if m.begin == len(m.lines) {
		t.Skip("the active file is empty")
	}
	data, err := os.ReadFile(m.journal.active())
	require.NoError(t, err)
	at := rapid.IntRange(0, len(settled(data))-1).Draw(t, "at")
	number := m.begin + bytes.Count(data[:at], []byte("\n"))
	if data[at] == '\n' || m.lines[number].broken {
		t.Skip("it would break two lines, or mend one")
	}
	data[at] ^= 1
	require.NoError(t, os.WriteFile(m.journal.active(), data, 0o640))
	m.lines[number].broken = true
}

// Check reads everything after each step.
func (m *model) Check(t *rapid.T) {
	got, err := m.journal.Read()
	damaged := false
	for i, line := range m.lines {
		if line.broken {
			damaged = true
			continue
		}
		require.NotEmpty(t, got)
		require.Equal(t, uint64(i+1), got[0].Seq)
		require.Equal(t, line.event, string(got[0].Event))
		got = got[1:]
	}
	require.Empty(t, got)
	if damaged {
		require.IsType(t, &CorruptError{}, err)
	} else {
		require.NoError(t, err)
	}
}

func TestAnySequenceOfCrashesKeepsWhatWasAcknowledged(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		j, err := Open(filepath.Join(dir, "shop"), ticking())
		require.NoError(t, err)
		t.Repeat(rapid.StateMachineActions(&model{journal: j}))
	})
}
