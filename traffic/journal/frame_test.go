package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The checksum can be taken by hand, as doc.go says.
func TestTheChecksumIsThatOfTheLineWithoutIt(t *testing.T) {
	line, e, err := seal(Entry{Seq: 7, Time: date, Rollout: "000017", Actor: "ci", Event: json.RawMessage(`{ "a": 1 }`), Prev: "00ff"})
	require.NoError(t, err)
	bare := regexp.MustCompile(`,"sum":"[0-9a-f]*"}\n$`).ReplaceAll(line, []byte("}"))
	require.Equal(t, `{"seq":7,"time":"2026-03-01T03:12:04Z","rollout":"000017","actor":"ci","event":{"a":1},"prev":"00ff"}`, string(bare))
	sum := sha256.Sum256(bare)
	require.Equal(t, hex.EncodeToString(sum[:]), e.Sum)
}

func TestWhatProvesItselfMustStillBeAnEntry(t *testing.T) {
	for body, why := range map[string]string{
		`{"seq":0,"actor":"ci"`: "it has no seq",
		`{"seq":"one"`:          "it is not an entry",
		`seq 1`:                 "it is not an entry",
		``:                      "it is not an entry",
	} {
		_, err := unseal([]byte(body + sumBegin + sumOf([]byte(body)) + sumEnd))
		require.ErrorContains(t, err, why)
	}
}

// Whatever lies in a file, reading it does not panic, gives ascending entries that prove themselves, and an append
// finds the same end as a reader.
func FuzzReplay(f *testing.F) {
	j := open(f, f.TempDir())
	for n := range 3 {
		add(f, j, n)
	}
	whole, err := os.ReadFile(j.active())
	require.NoError(f, err)
	for _, data := range [][]byte{nil, []byte("\n"), []byte("\n\n\x00"), whole, whole[:len(whole)-9], whole[5:], append(whole, "{}\n"...)} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := settled(data)
		require.True(t, bytes.HasPrefix(data, lines))
		require.Len(t, settled(lines[:len(lines):len(lines)]), len(settled(lines)))
		var r replay
		r.add("journal.jsonl", lines)
		var before uint64
		for _, e := range r.entries {
			require.Greater(t, e.Seq, before)
			before = e.Seq
		}
		if r.fault == nil {
			require.Len(t, r.entries, bytes.Count(lines, []byte("\n")))
		}
		end, err := readTail(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		require.Equal(t, int64(len(lines)), end.length)
		if r.fault == nil {
			require.Equal(t, r.last, end.last)
		}
	})
}

// Whatever is written is read again, in one line.
func FuzzSeal(f *testing.F) {
	f.Add(uint64(1), "ci", "000017", "", "text \n \x00 \u2028 \xff")
	f.Add(uint64(1), "\x89", "0", "\x89", "0")
	f.Fuzz(func(t *testing.T, seq uint64, actor, rollout, prev, text string) {
		event, err := json.Marshal(text)
		require.NoError(t, err)
		line, e, err := seal(Entry{Seq: max(seq, 1), Time: date, Rollout: rollout, Actor: actor, Event: event, Prev: prev})
		require.NoError(t, err)
		require.Equal(t, 1, bytes.Count(line, []byte("\n")))
		require.Equal(t, string(event), string(e.Event))
		require.Equal(t, line, settled(line))
		_, again, err := seal(e)
		require.NoError(t, err)
		again.Sum = e.Sum // what was no UTF-8 may be spelled in another way the second time
		require.Equal(t, e, again)
	})
}
