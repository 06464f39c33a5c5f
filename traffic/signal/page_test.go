package signal

import (
	"bytes"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func reads(t testing.TB, requests, errorWhen string) pageReader {
	want, err := parseSelector(requests)
	require.NoError(t, err)
	failing, err := parseMatchers(errorWhen)
	require.NoError(t, err)
	return pageReader{want, failing}
}

// total adds counters up.
func (c counters) total() (sum float64) {
	for s := range maps.Values(c) {
		sum += s.value
	}
	return sum
}

const (
	djangoPage = `# HELP django_http_responses_total_by_status_total Count of responses by status.
# TYPE django_http_responses_total_by_status_total counter
django_http_responses_total_by_status_total{status="200"} 1234.0
django_http_responses_total_by_status_total{status="500"} 5.0
django_http_responses_total_by_status_total {status="503"}	7 1395066363000
# TYPE django_http_responses_total_by_status_created gauge
django_http_responses_total_by_status_created{status="200"} 1.6e+09
django_http_responses_total_by_status_total_of_another{status="500"} 99
process_start_time_seconds 1.79999e+09
`
	openPage = `# TYPE shop_requests counter
# HELP shop_requests All of "them".
shop_requests_total{code="200",path="/a} # {b"} 17.0 1520879607.789 # {trace_id="KOO5S4vxi0o"} 0.67
shop_requests_total{code="500",path="\"}\\"} 3 # {trace_id="x"} 1
shop_requests_created{code="200"} 1520872607.123
# TYPE process_start_time_seconds gauge
process_start_time_seconds 5.5
# EOF
`
)

func TestPages(t *testing.T) {
	for name, c := range map[string]struct {
		page, requests, errorWhen, media string
		all, bad                         float64
		process, fails                   string
	}{
		"django": {page: djangoPage, requests: "django_http_responses_total_by_status_total", errorWhen: `status=~"5.."`,
			all: 1246, bad: 12, process: "the process of 1799990000.00"},
		"openmetrics": {page: openPage, requests: "shop_requests_total", errorWhen: `code="500"`, media: "application/openmetrics-text",
			all: 20, bad: 3, process: "the process of 5.50"},
		"chosen by label": {page: openPage, requests: `shop_requests_total{path!~"/a.*"}`, errorWhen: `code="500",`, all: 3, bad: 3,
			process: "the process of 5.50"},
		"declared and never counted": {page: "# TYPE x counter\n", requests: "x", errorWhen: `a="b"`, process: "one process"},
		"declared by help alone":     {page: "# HELP x_total\n", requests: "x_total", errorWhen: `a="b"`, process: "one process"},
		"without an end of line":     {page: "x 4", requests: "x", errorWhen: `a="b"`, all: 4, process: "one process"},
		"windows":                    {page: "x 4\r\nx{a=\"b\"} 2\r\n", requests: "x", errorWhen: `a="b"`, all: 6, bad: 2, process: "one process"},

		"empty":             {page: "", requests: "x", errorWhen: `a="b"`, fails: "has no metric x"},
		"another metric":    {page: djangoPage, requests: "x", errorWhen: `a="b"`, fails: "has no metric x"},
		"a gauge":           {page: "# TYPE x gauge\nx 1\n", requests: "x", errorWhen: `a="b"`, fails: "x is a gauge, not a counter"},
		"a histogram":       {page: "# TYPE x histogram\nx_count 1\n", requests: "x", errorWhen: `a="b"`, fails: "is a histogram"},
		"twice":             {page: "x 1\nx 1\n", requests: "x", errorWhen: `a="b"`, fails: "twice"},
		"not a number":      {page: "x NaN\n", requests: "x", errorWhen: `a="b"`, fails: "no count"},
		"endless":           {page: "x +Inf\n", requests: "x", errorWhen: `a="b"`, fails: "no count"},
		"half a request":    {page: "x 0.5\n", requests: "x", errorWhen: `a="b"`, fails: "whole number"},
		"below nothing":     {page: "x -2\n", requests: "x", errorWhen: `a="b"`, fails: "below 0"},
		"a word":            {page: "x many\n", requests: "x", errorWhen: `a="b"`, fails: "the page:"},
		"unfinished labels": {page: "x{a=\"b 1\n", requests: "x", errorWhen: `a="b"`, fails: "the page:"},
		"no value":          {page: "x{a=\"b\"}\n", requests: "x", errorWhen: `a="b"`, fails: "the page:"},
		"cut short": {page: strings.TrimSuffix(openPage, "# EOF\n"), requests: "shop_requests_total", errorWhen: `a="b"`,
			media: "application/openmetrics-text", fails: "does not end in # EOF"},
		"a long line":  {page: "# " + strings.Repeat("y", 1<<20) + "\nx 1\n", requests: "x", errorWhen: `a="b"`, fails: "a line of the page"},
		"a bad escape": {page: `x{a="\` + "\n", requests: "x", errorWhen: `a="b"`, fails: "the page:"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := reads(t, c.requests, c.errorWhen).read(strings.NewReader(c.page), c.media)
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			require.NotNil(t, s.all)
			require.Equal(t, c.all, s.all.total())
			require.Equal(t, c.bad, s.part.total())
			require.Equal(t, c.process, s.process)
		})
	}
}

// forever repeats a line, and counts what was read of it.
type forever struct {
	line string
	read int
}

func (f *forever) Read(p []byte) (int, error) {
	n := copy(p, f.line[f.read%len(f.line):])
	for n < len(p) {
		n += copy(p[n:], f.line)
	}
	f.read += n
	return n, nil
}

func TestPagesWithoutEndAreGivenUp(t *testing.T) {
	r := reads(t, "x", `a="b"`)
	for says, line := range map[string]string{"longer than 16 MB": "y{a=\"c\"} 1\n", "too many series": "x{a=\"c\"} 1\n"} {
		endless := &forever{line: line}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := r.read(endless, "")
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, says)
		require.Less(t, endless.read, pageLimit+2*pageLineLimit)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20), "%s: what is not asked for is not kept", says)
	}
}

func TestSelectors(t *testing.T) {
	labels := map[string]string{"status": "503", "method": "GET", "quoted": `a"b\c`}
	label := func(name string) string { return labels[name] }
	for text, fits := range map[string]bool{
		`status="503"`: true, `status="50"`: false, `status!="503"`: false, `status=~"5.."`: true, `status=~"5."`: false,
		`status!~"4..|5.."`: false, `status =~ "5..", method != "POST"`: true, `status=~"5..",method="POST",`: false,
		`missing=""`: true, `missing!=""`: false, `quoted="a\"b\\c"`: true, "status=~`5\\d\\d`": true, `status=~"4..|5.."`: true,
		`status=~"4|503"`: true, `status=~"50"`: false,
	} {
		matchers, err := parseMatchers(text)
		require.NoError(t, err, text)
		require.Equal(t, fits, fitsAll(matchers, label), text)
	}
	for _, text := range []string{
		"", "status", "=", `status="`, `status=503`, `status=~"("`, `status="5"x`, `status="5" method="x"`, `1a="b"`, `a!"b"`, `a='b'`, `a=='b'`,
		`,`, `a="b",,`, `status=~5..`,
	} {
		_, err := parseMatchers(text)
		require.Error(t, err, "%q", text)
	}
	for _, text := range []string{"", "{}", `{a="b"}`, "a b", "a{", `a{b="c"`, `a{b}`, "1a", `a{b="c"}x`} {
		_, err := parseSelector(text)
		require.Error(t, err, "%q", text)
	}
	for _, text := range []string{"a", " a ", "a{}", "job:x:sum", `a{b="c",d=~"}"}`} {
		_, err := parseSelector(text)
		require.NoError(t, err, text)
	}
}

// FuzzPage holds that no page gives what is no count, more failures than requests, or a panic.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{djangoPage, openPage, "", "x", "x{", `x{a="`, "x 1 2 3", "x\x00 1", "# TYPE x counter\nx{a=\"5\"} 1e3\n", "x{\"\"} 1\n"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, page []byte, open bool) {
		media := "text/plain"
		if open {
			media = "application/openmetrics-text"
		}
		for _, r := range []pageReader{
			reads(t, "x", `a=~"5.*"`), reads(t, "shop_requests_total", `code="500"`),
			reads(t, "django_http_responses_total_by_status_total", `status=~"5.."`),
		} {
			s, err := r.read(bytes.NewReader(page), media)
			if err != nil {
				continue
			}
			for labels, c := range s.all {
				require.NoError(t, counters{}.add(labels, c))
			}
			for labels, c := range s.part {
				require.Equal(t, s.all[labels], c)
			}
			again, err := r.read(io.MultiReader(bytes.NewReader(page[:len(page)/2]), bytes.NewReader(page[len(page)/2:])), media)
			require.NoError(t, err)
			require.Equal(t, slices.Sorted(maps.Keys(s.all)), slices.Sorted(maps.Keys(again.all)))
		}
	})
}
