package e2e

import (
	"html"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// The report of a rollout that the verdict reverted names the reason in each of its forms, and its chart shows the users' failures and
// the revert. It is the same whenever it is asked for. Without its log it tells the rest, and a log that is named brings the chart back.
func TestReport_TellsWhyItWasReverted(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "report", Config: slow})
	s.types(8, "promote", "--tag", bad.Tag)
	s.load.Stop()
	reason := s.judged("000001").reverts.Verdict.Reason
	away := filepath.Join(t.TempDir(), "access.log.1") // nginx goes on writing into it
	require.NoError(t, os.WriteFile(away, []byte(s.text(s.AccessLog())), 0o644))

	text := strings.Join(strings.Fields(s.types(0, "report", "--log", away).Stdout), " ") // it is folded to 80 columns
	require.Contains(t, text, bad.Tag+" on green was reverted by the verdict at 5 %")
	require.Contains(t, text, reason)

	page := s.types(0, "report", "--log", away, "--html", "-", "1").Stdout
	require.Contains(t, page, html.EscapeString(reason))
	require.Regexp(t, `reverted \d\d:\d\d:\d\d ▾`, page)
	require.Equal(t, page, s.types(0, "report", "--log", away, "--html", "-").Stdout, "the same to the byte")
	written := filepath.Join(t.TempDir(), "report.html")
	s.types(0, "report", "--log", away, "--html", written)
	require.Equal(t, page, s.text(written))

	s.showsTheRevert(away)
	require.NoError(t, os.Rename(s.AccessLog(), s.AccessLog()+".1"))
	without := strings.Join(strings.Fields(s.types(0, "report").Stdout), " ")
	require.Contains(t, without, "is gone")
	require.Contains(t, without, reason)
	require.Contains(t, s.types(0, "report", "--html", "-").Stdout, "There is no chart")
	s.journalIsWhole()
}

// showsTheRevert wants the failures and the evidence in the chart, up to the line at which it reverts, and no share after it.
func (s *scene) showsTheRevert(log string) {
	s.t.Helper()
	var doc struct {
		Why    string `json:"why"`
		Shares []struct {
			Weight float64 `json:"weight"`
		} `json:"shares"`
		Traffic struct {
			Candidate struct {
				Requests float64 `json:"requests"`
				Errors   float64 `json:"errors"`
			} `json:"candidate"`
			Opinions []struct {
				Decision string `json:"decision"`
				Rule     string `json:"rule"`
			} `json:"opinions"`
			Series struct {
				Points []struct {
					Candidate tally    `json:"candidate"`
					LogM      *float64 `json:"log_m"`
				} `json:"points"`
				Limit float64 `json:"revert_log_m"`
			} `json:"series"`
		} `json:"traffic"`
	}
	s.reads(s.types(0, "report", "--json", "--log", log).Stdout, &doc)
	require.Len(s.t, doc.Shares, 2)
	require.EqualValues(s.t, 5, doc.Shares[0].Weight)
	require.Zero(s.t, doc.Shares[1].Weight)
	require.InDelta(s.t, math.Log(100), doc.Traffic.Series.Limit, 1e-9, "1 % is the default")
	require.Positive(s.t, doc.Traffic.Candidate.Errors)

	last := doc.Traffic.Opinions[len(doc.Traffic.Opinions)-1]
	require.Equal(s.t, "fail", last.Decision)
	most, points := 0.0, doc.Traffic.Series.Points
	for _, p := range points {
		if p.LogM != nil {
			most = max(most, *p.LogM)
		}
	}
	require.Positive(s.t, most)
	if last.Rule == "errors" || last.Rule == "ceiling" { // and not a run of failures, which needs no evidence besides
		require.GreaterOrEqual(s.t, most, doc.Traffic.Series.Limit)
	}
	require.Zero(s.t, points[len(points)-1].Candidate.Requests, "stable has everything at its end")
}
