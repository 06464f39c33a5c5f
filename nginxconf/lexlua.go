package nginxconf

import "strings"

// lua passes the body of a …_by_lua_block. Its braces are paired by Lua's rules, not by nginx's: one in a string, a
// long bracket or a comment counts for nothing.
func (l *lexer) lua() (token, error) {
	start, line := l.at, l.line
	for depth := 0; l.at < len(l.source); {
		rest := l.source[l.at:]
		switch c := rest[0]; {
		case strings.HasPrefix(rest, "--"):
			l.skip(2)
			if !l.longBracket() {
				l.skipPast("\n")
			}
		case c == '[' && l.longBracket(): // passed by the question itself
		case c == '"' || c == '\'':
			l.luaString(c)
		default:
			l.step()
			switch c {
			case '{':
				depth++
			case '}':
				depth--
			}
			if depth == 0 {
				return token{kind: tokenLua, text: l.source[start+1 : l.at-1], start: start, end: l.at, line: line}, nil
			}
		}
	}
	return token{}, &syntaxError{line, "unexpected end of file, the Lua block is never closed"}
}

// longBracket passes [[…]], [=[…]=] and so on, and tells whether one started here.
func (l *lexer) longBracket() bool {
	rest := l.source[l.at:]
	if len(rest) == 0 || rest[0] != '[' {
		return false
	}
	level := 1
	for level < len(rest) && rest[level] == '=' {
		level++
	}
	if level == len(rest) || rest[level] != '[' {
		return false
	}
	closing := "]" + rest[1:level] + "]"
	l.skip(level + 1)
	l.skipPast(closing)
	return true
}

// luaString passes a quoted string; Lua ends it at the line's end where the quote is missing.
func (l *lexer) luaString(quote byte) {
	for l.step(); l.at < len(l.source); l.step() {
		switch c := l.source[l.at]; {
		case c == '\\' && l.at+1 < len(l.source):
			l.step()
		case c == quote, c == '\n':
			l.step()
			return
		}
	}
}

// skipPast passes everything up to the end of the mark, or of the file where there is none.
func (l *lexer) skipPast(mark string) {
	n := strings.Index(l.source[l.at:], mark)
	if n < 0 {
		l.skip(len(l.source) - l.at)
		return
	}
	l.skip(n + len(mark))
}

func (l *lexer) skip(n int) {
	for range n {
		l.step()
	}
}
