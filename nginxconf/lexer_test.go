package nginxconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spell writes tokens as a table can hold them: words in angle brackets, the rest as it is.
func spell(tokens []token) string {
	var parts []string
	for _, t := range tokens {
		switch t.kind {
		case tokenWord:
			parts = append(parts, "<"+t.text+">")
		case tokenLua:
			parts = append(parts, "lua("+t.text+")")
		default:
			parts = append(parts, t.text)
		}
	}
	return strings.Join(parts, " ")
}

func TestLexer(t *testing.T) {
	tests := []struct{ name, source, want string }{
		{"nothing", "", ""},
		{"blanks and a comment without an end", " \t\r\n# x", ""},
		{"a directive", "worker_processes  auto;", "<worker_processes> <auto> ;"},
		{"a block without blanks", "events{a 1;}", "<events> { <a> <1> ; }"},
		{"comment between words", "a # b;\n c;", "<a> <c> ;"},
		{"hash inside a word", "a b#c;", "<a> <b#c> ;"},
		{"double quotes", `a "b c;{}#";`, "<a> <b c;{}#> ;"},
		{"single quotes", `a 'b "c"';`, `<a> <b "c"> ;`},
		{"quotes inside a word", `a b"c d";`, `<a> <b"c> <d"> ;`},
		{"empty word", `a "";`, "<a> <> ;"},
		{"escaped quotes", `a "\"" '\'' \";`, `<a> <"> <'> <"> ;`},
		{"escapes nginx knows", `a "\t\r\n\\";`, "<a> <\t\r\n\\> ;"},
		{"escapes it leaves", `a \d\.\$ "\x";`, `<a> <\d\.\$> <\x> ;`},
		{"escaped blank and semicolon stay one word", `a b\ c\;d;`, `<a> <b\ c\;d> ;`},
		{"variable in braces", "a ${b}c$d{", "<a> <${b}c$d{>"},
		{"variable before a block", "if ($a) { b $c; }", "<if> <($a)> { <b> <$c> ; }"},
		{"quoted condition before a parenthesis", `if ($a = "b") {}`, `<if> <($a> <=> <b> <)> { }`},
		{"closing brace inside a word", "a b}c;", "<a> <b}c> ;"},
		{"word over lines", "a 'b\nc';", "<a> <b\nc> ;"},
		{"pattern in quotes", `location ~ "^/a{2}$" {}`, `<location> <~> <^/a{2}$> { }`},
		{"lua", `init_by_lua_block { f{"}"} -- }` + "\n" + ` } a;`, `<init_by_lua_block> lua( f{"}"} -- }` + "\n" + ` ) <a> ;`},
		{"lua in quotes is a word", `content_by_lua 'x{';`, "<content_by_lua> <x{> ;"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tokens, err := lex([]byte(test.source))
			if strings.HasSuffix(test.want, "{>") { // a word that swallows its brace leaves the directive open
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, spell(tokens))
		})
	}
}

func TestLexerRefuses(t *testing.T) {
	tests := []struct{ source, want string }{
		{";", `line 1: unexpected ";"`},
		{"a;\n{}", `line 2: unexpected "{"`},
		{"a }", `line 1: unexpected "}"`},
		{"a;\n\n}", `line 3: unexpected "}"`},
		{`a "b"c;`, `line 1: unexpected "c" after a quoted word`},
		{`a "b"}`, `line 1: unexpected "}" after a quoted word`},
		{"a {\n b;\n", `line 3: unexpected end of file, expecting "}"`},
		{"a", `line 1: unexpected end of file, expecting ";" or "{"`},
		{"a ", `line 1: unexpected end of file, expecting ";" or "{"`},
		{`a "b"`, `line 1: unexpected end of file, expecting ";" or "{"`},
		{`a "b\`, `line 1: unexpected end of file, the quote "\"" is never closed`},
		{`a b\`, `line 1: unexpected end of file, expecting ";" or "{"`},
		{"x_by_lua_block { [[ }", `line 1: unexpected end of file, the Lua block is never closed`},
	}
	for _, test := range tests {
		t.Run(test.source, func(t *testing.T) {
			_, err := lex([]byte(test.source))
			require.EqualError(t, err, test.want)
		})
	}
}

// nginx is asked how it reads a word: it names the directive that it does not know.
func TestWordsAsNginxReadsThem(t *testing.T) {
	nginx := stockNginx(t)
	for _, source := range []string{
		`"a b"`, `'a "b" {;}#'`, `a"b`, `a\"b`, `\d\.\$x`, `a\b`, `"\'\"\\"`, `a\ b\;c\{d`, `${a}b`, `$a`, `"$"`, `a}b`, `)x`, `a#b`, `\#a`, `"a\tb"`, `x${{y`,
	} {
		t.Run(source, func(t *testing.T) {
			tokens, err := lex([]byte(source + " on;"))
			require.NoError(t, err)
			conf := filepath.Join(t.TempDir(), "nginx.conf")
			put(t, conf, source+" on;")
			out, err := exec.Command(nginx, append(early(t, nginx, "stderr"), "-t", "-c", conf)...).CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), `unknown directive "`+tokens[0].text+`" in `+conf+":1")
		})
	}
}

// FuzzLexer holds that no input panics, that tokens lie in the source in order, and that an accepted file says the same
// when its tokens are written anew.
func FuzzLexer(f *testing.F) {
	archives, err := filepath.Glob("testdata/chain/*.txtar")
	require.NoError(f, err)
	for _, path := range archives {
		source, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(source)
		_, body, _ := strings.Cut(string(source), "-- nginx.conf --\n")
		body, _, _ = strings.Cut(body, "\n-- ")
		f.Add([]byte(body))
	}
	f.Add([]byte(`a "\\\"" '\'' b\ c ${d}{ x_by_lua_block { [=[ ]] ]=] } }`))
	f.Fuzz(func(t *testing.T, source []byte) {
		tokens, err := lex(source)
		if err != nil {
			return
		}
		_, err = parse("fuzz", source)
		require.NoError(t, err)
		var again strings.Builder
		end := 0
		for _, tok := range tokens {
			require.True(t, end <= tok.start && tok.start < tok.end && tok.end <= len(source))
			end = tok.end
			switch tok.kind {
			case tokenWord:
				again.WriteString(quote(tok.text))
			case tokenLua:
				again.WriteString("{" + tok.text + "}")
			default:
				again.WriteString(tok.text)
			}
			again.WriteString(" ")
		}
		retold, err := lex([]byte(again.String()))
		require.NoError(t, err, again.String())
		require.Equal(t, spell(tokens), spell(retold))
	})
}
