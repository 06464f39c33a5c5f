package signal

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// coloredLine is one of the log at a second, with the color that answered last.
func coloredLine(second int, color, answers, addresses, times string) string {
	return fmt.Sprintf(`{"ts":"17000000%02d.500","app":"shop","pool":"split","color":"%s","status":200,"us":"%s","ua":"%s","ut":"%s"}`+"\n",
		second, color, answers, addresses, times)
}

func traceLine(second int, pool string, status int, took string) string {
	return fmt.Sprintf(`{"ts":17000000%02d.5,"pool":"%s","status":%d,"rt":%s}`+"\n", second, pool, status, took)
}

var greenTried = Wanted{Candidate: "green", Stable: "blue"}

func recordingOf(t *testing.T, text []byte) string {
	path := filepath.Join(t.TempDir(), "recording")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	return path
}

func zipped(t *testing.T, text string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// played is all that a recording gives, one word each.
func played(t *testing.T, r *Recording) string {
	var all []verdict.Sample
	require.NoError(t, r.Play(func(s verdict.Sample) { all = append(all, s) }))
	words := strings.Fields(outcomes(all))
	for i, s := range all {
		if s.Slow {
			words[i] += "slow"
		}
	}
	return strings.Join(words, " ")
}

func openText(t *testing.T, w Wanted, text string) *Recording {
	r, err := OpenRecording(recordingOf(t, []byte(text)), w)
	require.NoError(t, err)
	return r
}

func TestRecordingOfALog(t *testing.T) {
	const b, g = stableAddress, candidateAddress
	text := coloredLine(1, "blue", "200", b, "0.001") +
		coloredLine(2, "green", "500", g, "0.900") +
		coloredLine(3, "blue", "502, 200", g+", "+b, "0.000, 0.400") +
		coloredLine(4, "", "", "", "") +
		coloredLine(5, "", "200", "10.0.0.9:80", "9.000") +
		coloredLine(6, "green", "200", g, "0.301")
	r := openText(t, greenTried, text)
	require.Equal(t, "stable+ candidate- candidate- stable+ candidate+", played(t, r))
	require.EqualValues(t, 6, r.Lines)
	require.Zero(t, r.Foreign)
	require.Equal(t, time.UnixMilli(1700000001500), r.First)
	require.Equal(t, time.UnixMilli(1700000006500), r.Last)
	require.Equal(t, played(t, r), played(t, r), "as often as one likes")

	slow := greenTried
	slow.SlowerThan = 300 * time.Millisecond
	require.Equal(t, "stable+ candidate-slow candidate- stable+slow candidate+slow", played(t, openText(t, slow, text)))
	blueTried := Wanted{Candidate: "blue", Stable: "green"}
	require.Equal(t, "candidate+ stable- stable- candidate+ stable+", played(t, openText(t, blueTried, text)))

	zippedOne, err := OpenRecording(recordingOf(t, zipped(t, text)), greenTried)
	require.NoError(t, err)
	require.Equal(t, played(t, r), played(t, zippedOne))
	require.Equal(t, played(t, r), played(t, openText(t, greenTried, strings.TrimSuffix(text, "\n"))))
}

// A release that refuses each connection never answers last: nginx has stable answer, and names that.
func TestRecordingOfADeadRelease(t *testing.T) {
	const b, g = stableAddress, candidateAddress
	text := coloredLine(1, "blue", "502, 200", g+", "+b, "0.000, 0.001") + coloredLine(2, "blue", "200", b, "0.001")
	require.Equal(t, "candidate- stable+ stable+", played(t, openText(t, greenTried, text)))
	elsewhere := coloredLine(1, "blue", "500 : 200", "10.0.0.9:80 : "+b, "0.001 : 0.001")
	require.Equal(t, "stable+", played(t, openText(t, greenTried, elsewhere)), "an address before a redirect is anybody's")
}

func TestRecordingOfATrace(t *testing.T) {
	text := traceLine(1, "blue", 200, "0.012") + traceLine(2, "green", 500, "0.301") + traceLine(3, "green", 404, "0.300")
	slow := greenTried
	slow.SlowerThan = 300 * time.Millisecond
	require.Equal(t, "stable+ candidate-slow candidate+", played(t, openText(t, slow, text)))
	require.Equal(t, "stable+ candidate- candidate+", played(t, openText(t, greenTried, text)))
}

func TestRecordingLeavesOutWhatIsForeign(t *testing.T) {
	other := strings.Replace(coloredLine(3, "blue", "200", stableAddress, "0.001"), "shop", "blog", 1)
	text := traceLine(1, "blue", 200, "0.1") + "127.0.0.1 - - combined\n" + coloredLine(2, "blue", "200", stableAddress, "0.001") + other +
		traceLine(4, "red", 200, "0.1") + `{"ts":"17000` + "\n"
	r := openText(t, greenTried, text)
	require.Equal(t, "stable+ stable+", played(t, r))
	require.EqualValues(t, 6, r.Lines)
	require.EqualValues(t, 4, r.Foreign)
	require.EqualValues(t, 2, r.FirstForeign)
	blog := greenTried
	blog.App = "blog"
	r = openText(t, blog, text)
	require.EqualValues(t, 4, r.Foreign)
}

func TestRecordingOutOfOrder(t *testing.T) {
	late := strings.Replace(traceLine(1, "blue", 200, "0.1"), "1700000001", "1700000090", 1)
	r := openText(t, greenTried, traceLine(2, "blue", 200, "0.1")+traceLine(1, "blue", 200, "0.1")+late+traceLine(3, "blue", 200, "0.1"))
	require.EqualValues(t, 4, r.Disordered)
	require.Equal(t, time.UnixMilli(1700000002500), r.First)
	require.Equal(t, time.UnixMilli(1700000090500), r.Last)
}

func TestRecordingThatCannotBeRead(t *testing.T) {
	lines := strings.Repeat(traceLine(1, "blue", 200, "0.1")+traceLine(2, "green", 200, "0.1"), 20000)
	whole := zipped(t, lines)
	broken := bytes.Clone(whole)
	broken[len(broken)-6] ^= 1 // of the checksum
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":          {nil, `recording is empty$`},
		"nothing, zipped":  {zipped(t, ""), `recording is empty$`},
		"torn":             {whole[:len(whole)*2/3], `^read .*recording: at line \d+, the last one logged at 2023-11-14T22:13:22.5Z: its compressed data end too early$`},
		"torn at once":     {whole[:5], `^read .*recording: its compressed data end too early$`},
		"damaged":          {broken, `^read .*recording: at line 40000, .*: gzip: invalid checksum$`},
		"another format":   {[]byte("127.0.0.1 - - [x] \"GET /\" 200\n"), `recording: line 1: not a line of cutover's access log, and no line of a trace; nor is any other$`},
		"a line too long":  {bytes.Repeat([]byte("x"), longestLine+1), `^read .*recording: the next line is longer than 1048576 bytes$`},
		"foreign and gzip": {zipped(t, "x\n"), `recording: line 1: not a line`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenRecording(recordingOf(t, c.text), greenTried)
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
		})
	}
	app := greenTried
	app.App = "blog"
	_, err := OpenRecording(recordingOf(t, []byte(coloredLine(1, "blue", "200", stableAddress, "0.001"))), app)
	require.ErrorIs(t, err, ErrForeign)
	require.ErrorContains(t, err, "access log of blog, and no line")

	_, err = OpenRecording(filepath.Join(t.TempDir(), "nowhere"), greenTried)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = OpenRecording(t.TempDir(), greenTried)
	require.ErrorContains(t, err, "not a regular file")
}

// Whatever bytes come, nothing of them counts twice, and a recording that opens can be played.
func FuzzRecording(f *testing.F) {
	f.Add([]byte(coloredLine(1, "green", "502, 200", candidateAddress+", "+stableAddress, "0.1, -")))
	f.Add([]byte(traceLine(1, "green", 500, "0.1")))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, text []byte) {
		slow := greenTried
		slow.SlowerThan = time.Millisecond
		r, err := OpenRecording(recordingOf(t, text), slow)
		if err != nil {
			return
		}
		require.LessOrEqual(t, r.Foreign, r.Lines)
		require.NoError(t, r.Play(func(s verdict.Sample) { require.LessOrEqual(t, s.Arm, verdict.Candidate) }))
	})
}
