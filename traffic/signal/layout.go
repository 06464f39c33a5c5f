package signal

import (
	"bytes"
	"slices"
)

// layout is the form that lines have: texts which are the same in each of them, and values in between. A line that has it is read
// by looking for those texts, which costs a fraction of reading whatever JSON might come.
type layout struct {
	// before is what each line begins with. A layout without places is none, and matches nothing.
	before []byte
	places []place
}

// place is one value and what stands behind it.
type place struct {
	field field
	ends  ending
	after []byte
}

// ending says how the end of a value is found.
type ending uint8

const (
	// endsLine is the value that is the rest of the line.
	endsLine ending = iota
	// endsWord is a JSON number or word: letters, digits, dots and signs.
	endsWord
	// endsString is a JSON string in a line without a backslash: the first quote ends it.
	endsString
	// endsQuote is the same in a line that may have backslashes: nobody can write a quote into a value without one before it.
	endsQuote
	// endsText is where the text behind comes first.
	endsText
	// endsList is the same for a list of nginx, which holds spaces and commas itself.
	endsList
)

// match fills in the entry's values from a line of this layout; false, with some of them filled in, for another one.
func (l *layout) match(line []byte, e *entry) bool {
	if len(l.places) == 0 || !bytes.HasPrefix(line, l.before) {
		return false
	}
	rest := line[len(l.before):]
	for i := range l.places {
		p := &l.places[i]
		end := p.end(rest)
		if end < 0 || !bytes.HasPrefix(rest[end:], p.after) {
			return false
		}
		if p.field != otherField {
			e.text[p.field] = rest[:end]
		}
		rest = rest[end+len(p.after):]
	}
	return len(rest) == 0
}

// end is where the value ends with which rest begins; negative where it does not.
func (p *place) end(rest []byte) int {
	switch p.ends {
	case endsWord:
		return wordEnd(rest)
	case endsString:
		return bytes.IndexByte(rest, '"')
	case endsQuote:
		return quoteEnd(rest)
	case endsText:
		return bytes.Index(rest, p.after)
	case endsList:
		return listEnd(rest, p.after)
	}
	return len(rest)
}

func wordEnd(rest []byte) int {
	for i, c := range rest {
		switch {
		case '0' <= c && c <= '9', c == '.', 'a' <= c && c <= 'z', c == '-', c == '+', 'A' <= c && c <= 'Z':
		case i == 0:
			return -1
		default:
			return i
		}
	}
	return len(rest)
}

// quoteEnd finds the first quote that has no backslash before it, or an even number of them.
func quoteEnd(rest []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(rest[from:], '"')
		if i < 0 {
			return -1
		}
		slashes := 0
		for at := from + i - 1; at >= 0 && rest[at] == '\\'; at-- {
			slashes++
		}
		if slashes%2 == 0 {
			return from + i
		}
		from += i + 1
	}
}

// listEnd finds the first place of after that is not the ", " or " : " between two attempts.
func listEnd(rest, after []byte) int {
	for from := 0; ; {
		i := bytes.Index(rest[from:], after)
		if i < 0 {
			return -1
		}
		at := from + i
		switch {
		case rest[at] == ',' && at+1 < len(rest) && rest[at+1] == ' ':
			from = at + 2
		case rest[at] == ' ' && at > 0 && rest[at-1] == ',':
			from = at + 1
		case rest[at] == ' ' && bytes.HasPrefix(rest[at:], []byte(" : ")):
			from = at + 3
		default:
			return at
		}
	}
}

// forming notes the form of a line of JSON while its members are read.
type forming struct {
	places []place
	// begins and ends are where the values so far begin and end in the line.
	begins, ends []int
	// odd tells that a value cannot be found again by what stands around it.
	odd bool
}

// restart forgets the line before, and keeps the room that it took.
func (f *forming) restart() {
	*f = forming{places: f.places[:0], begins: f.begins[:0], ends: f.ends[:0]}
}

// add notes the next value of the line; nil for one that is not plain.
func (f *forming) add(line []byte, kind field, value []byte) {
	if f.odd = f.odd || value == nil; f.odd {
		return
	}
	// Both share their memory's end, which tells where in the line the value begins.
	begin := cap(line) - cap(value)
	ends := endsWord
	if begin > 0 && line[begin-1] == '"' {
		ends = endsString
	}
	f.places = append(f.places, place{field: kind, ends: ends})
	f.begins, f.ends = append(f.begins, begin), append(f.ends, begin+len(value))
}

// layout is the line's, which was read to its end; none where it has an odd value.
func (f *forming) layout(line []byte) layout {
	if f.odd || len(f.places) == 0 {
		return layout{}
	}
	kept, places := bytes.Clone(line), slices.Clone(f.places) // the line is somebody else's
	for i := range places {
		until := len(kept)
		if i+1 < len(places) {
			until = f.begins[i+1]
		}
		places[i].after = kept[f.ends[i]:until]
	}
	return layout{before: kept[:f.begins[0]], places: places}
}
