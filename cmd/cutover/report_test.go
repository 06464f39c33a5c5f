package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/verdict"
)

// hostile is what somebody may have put into a tag, a reason or a name.
const hostile = `</p><script>alert(1)</script>" onload="x' {{.}} ` + "\x1b[2J\u202e"

// reverted are the lines of a rollout with such words in all of its places.
func reverted(t testing.TB, words string) []journal.Entry {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	result := verdict.Result{Decision: verdict.Failed, Rule: verdict.RuleErrors, Reason: words, Candidate: verdict.Tally{Requests: 50, Errors: 9},
		Notes: []string{words}, Routes: []verdict.Part{{Name: words, LogM: 3, LogLimit: 6}}}
	plan := traffic.Plan{Steps: []traffic.Step{{Weight: 500, Soak: time.Minute}, {Weight: traffic.Full}}}
	var entries []journal.Entry
	for n, e := range []traffic.Event{
		{Kind: traffic.StableSet, Color: traffic.Blue, Release: &traffic.Release{Tag: words}},
		{Kind: traffic.Opened, Rollout: 1, By: words, Opening: &traffic.Opening{Mode: traffic.Promotion, Plan: plan, Stable: traffic.Blue, Tag: words, Previous: words}},
		{Kind: traffic.Prepared, Rollout: 1}, {Kind: traffic.Checked, Rollout: 1}, {Kind: traffic.Raised, Rollout: 1, Weight: 500},
		{Kind: traffic.Judged, Rollout: 1, Verdict: &result},
		{Kind: traffic.CutUnproven, Rollout: 1, Why: words},
	} {
		e.At = at.Add(time.Duration(n) * time.Second)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		entries = append(entries, journal.Entry{Seq: uint64(n + 1), Time: e.At, Event: text})
	}
	return entries
}

// pages gives the report of such a rollout as a page and as text.
func pages(t testing.TB, words string) (page, text string) {
	told, found := remembered(1, reverted(t, words))
	require.True(t, found)
	told.App, told.Traffic.Missing = words, words
	var html, plain bytes.Buffer
	require.NoError(t, told.page(&html))
	told.print(&output{stdout: &plain})
	return html.String(), plain.String()
}

// Nothing from outside becomes a part of the page or steers a terminal.
func TestReport_WordsFromOutsideStayWords(t *testing.T) {
	page, text := pages(t, hostile)
	require.Contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
	for _, bad := range []string{"<script", `" onload`, "\x1b", "\u202e"} {
		require.NotContains(t, page, bad)
	}
	require.Contains(t, text, "was reverted by")
	require.NotContains(t, text, "\x1b")
}

func FuzzReport(f *testing.F) {
	f.Add(hostile)
	f.Add("v1.2.0")
	f.Fuzz(func(t *testing.T, words string) {
		page, text := pages(t, words)
		require.NotContains(t, strings.ToLower(page), "<script")
		require.NotContains(t, text, "\x1b")
		again, _ := pages(t, words)
		require.Equal(t, page, again)
	})
}
