package notify

import (
	"strings"
	"unicode"
)

// The longest that our own text may be once it is escaped, in bytes. Together they stay below the 4096 of WeCom,
// which is the narrowest; the reader of more than this opens a terminal anyway.
const (
	longest  = 2400
	shortest = 400
)

// escape writes one rune so that a format shows it and does nothing else with it.
type escape func(r rune) string

// asItIs is for formats that take text as text.
func asItIs(r rune) string { return string(r) }

// forSlack escapes the three characters that Slack documents.
func forSlack(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	}
	return string(r)
}

// forDingTalk uses the backslash, which DingTalk honours for emphasis and code, and twins for the rest.
func forDingTalk(r rune) string {
	switch r {
	case '\\', '*', '_', '`':
		return `\` + string(r)
	}
	return twin(r)
}

// forWeCom has only twins: WeCom knows no escape. It acts upon no underscore, so that tags can still be copied.
func forWeCom(r rune) string { return twin(r) }

// twin gives the full-width form of a character that a Markdown of unknown rules may act upon: links, pictures, mentions,
// tags, headings, emphasis. It looks the same, and no renderer takes it for markup.
func twin(r rune) string {
	switch r {
	case '<', '>', '[', ']', '#', '*', '`':
		return string(r - '!' + '！')
	}
	return string(r)
}

// long and short write a text on one line: white space of any kind becomes one space, and what cannot be seen goes, because
// a control character could turn the sentence around or begin a line of its own. What is too long ends in "…".
func long(text string, e escape) string { return fit(text, e, longest) }

func short(text string, e escape) string { return fit(text, e, shortest) }

func fit(text string, e escape, limit int) string {
	const more = "…"
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(text), " ") {
		if !unicode.IsPrint(r) {
			continue
		}
		piece := e(r)
		if b.Len()+len(piece)+len(more) > limit {
			return b.String() + more
		}
		b.WriteString(piece)
	}
	return b.String()
}
