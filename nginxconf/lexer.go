package nginxconf

import (
	"fmt"
	"strings"
)

// tokenKind tells what part a token has in a directive.
type tokenKind int

const (
	tokenWord  tokenKind = iota // a directive's name or one of its arguments
	tokenEnd                    // the semicolon after a directive
	tokenOpen                   // the brace that opens a block
	tokenClose                  // the brace that closes one
	tokenLua                    // the whole body of a …_by_lua_block with its braces: another language, never looked into
)

// token is one piece of a configuration file.
type token struct {
	kind tokenKind
	// text is a word as nginx takes it, without quotes and escapes; of a Lua body the bytes between the braces.
	text string
	// The token is source[start:end], quotes and braces included.
	start, end int
	// line is where it starts, counted from 1.
	line int
}

// syntaxError is something that nginx would not read either.
type syntaxError struct {
	line int
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

// lexer reads tokens as nginx's own ngx_conf_read_token does, oddities included: a backslash before anything but a quote,
// itself or t, r, n stays in the word; a closing brace inside a bare word belongs to it; "${" opens no block.
type lexer struct {
	// source is a string so that words are parts of it: a site of a thousand routes has tens of thousands.
	source string
	at     int
	line   int
	// words counts those of the directive being read, name is the first of them.
	words int
	name  string
}

// lex splits a configuration file. Invariant: braces are paired and each directive is ended in what it accepts.
func lex(source []byte) ([]token, error) {
	l := lexer{source: string(source), line: 1}
	const usual = 16 // bytes of a file to a token, with its blanks
	tokens := make([]token, 0, len(source)/usual)
	depth := 0
	for l.skipBlank() {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		switch t.kind {
		case tokenOpen:
			depth++
		case tokenClose:
			depth--
		}
		if depth < 0 {
			return nil, &syntaxError{t.line, `unexpected "}"`}
		}
		tokens = append(tokens, t)
	}
	if l.words > 0 {
		return nil, &syntaxError{l.line, `unexpected end of file, expecting ";" or "{"`}
	}
	if depth > 0 {
		return nil, &syntaxError{l.line, `unexpected end of file, expecting "}"`}
	}
	return tokens, nil
}

// skipBlank passes white space and comments, and tells whether anything is left.
func (l *lexer) skipBlank() bool {
	for l.at < len(l.source) {
		switch c := l.source[l.at]; {
		case isBlank(c):
			l.step()
		case c == '#':
			for l.at < len(l.source) && l.source[l.at] != '\n' {
				l.step()
			}
		default:
			return true
		}
	}
	return false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// step passes one byte.
func (l *lexer) step() {
	if l.source[l.at] == '\n' {
		l.line++
	}
	l.at++
}

// next reads the token that starts here; skipBlank has made sure that there is one.
func (l *lexer) next() (token, error) {
	switch c := l.source[l.at]; c {
	case ';', '{':
		if l.words == 0 {
			return token{}, &syntaxError{l.line, fmt.Sprintf("unexpected %q", string(c))}
		}
		return l.finish(c)
	case '}':
		if l.words > 0 {
			return token{}, &syntaxError{l.line, `unexpected "}"`}
		}
		return l.punctuation(tokenClose), nil
	case '"', '\'':
		return l.quoted(c)
	}
	return l.bare()
}

// finish reads what ends the words of a directive.
func (l *lexer) finish(c byte) (token, error) {
	lua := c == '{' && strings.HasSuffix(l.name, "_by_lua_block")
	l.words, l.name = 0, ""
	switch {
	case lua:
		return l.lua()
	case c == '{':
		return l.punctuation(tokenOpen), nil
	}
	return l.punctuation(tokenEnd), nil
}

func (l *lexer) punctuation(kind tokenKind) token {
	t := token{kind: kind, text: string(l.source[l.at]), start: l.at, end: l.at + 1, line: l.line}
	l.at++
	return t
}

// quoted reads a word in single or double quotes. After it nginx wants a blank, or one of ; { ).
func (l *lexer) quoted(quote byte) (token, error) {
	start, line := l.at, l.line
	for l.step(); l.at < len(l.source); l.step() {
		switch l.source[l.at] {
		case '\\':
			l.step()
		case quote:
			l.step()
			if l.at < len(l.source) && !isBlank(l.source[l.at]) && strings.IndexByte(";{)", l.source[l.at]) < 0 {
				return token{}, &syntaxError{l.line, fmt.Sprintf("unexpected %q after a quoted word", string(l.source[l.at]))}
			}
			return l.word(token{text: unescape(l.source[start+1 : l.at-1]), start: start, end: l.at, line: line}), nil
		}
		if l.at == len(l.source) {
			break
		}
	}
	return token{}, &syntaxError{line, fmt.Sprintf("unexpected end of file, the quote %q is never closed", string(quote))}
}

// bare reads a word without quotes, up to a blank, a semicolon or an opening brace; the brace of "${" is part of it.
func (l *lexer) bare() (token, error) {
	start, line := l.at, l.line
	variable := false // the last byte was a dollar sign, or a brace that belongs to one
	for ; l.at < len(l.source); l.step() {
		c := l.source[l.at]
		switch {
		case c == '{' && variable:
			continue
		case isBlank(c), c == ';', c == '{':
			return l.word(token{text: unescape(l.source[start:l.at]), start: start, end: l.at, line: line}), nil
		case c == '\\':
			l.step()
		}
		if l.at == len(l.source) {
			break
		}
		variable = c == '$'
	}
	return token{}, &syntaxError{l.line, `unexpected end of file, expecting ";" or "{"`}
}

func (l *lexer) word(t token) token {
	if l.words == 0 {
		l.name = t.text
	}
	l.words++
	return t
}

// unescape gives a word's value: nginx knows \" \' \\ \t \r \n and leaves each other backslash where it is.
func unescape(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	var value strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' && i+1 < len(raw) {
			switch raw[i+1] {
			case '"', '\'', '\\':
				i++
				c = raw[i]
			case 't':
				i++
				c = '\t'
			case 'r':
				i++
				c = '\r'
			case 'n':
				i++
				c = '\n'
			}
		}
		value.WriteByte(c)
	}
	return value.String()
}

// quote writes a value as a word that nginx reads back as the same value.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
