package signal

import "bytes"

// object steps through the members of one JSON object that stands alone in a line. It exists because decoding by
// reflection would cost the host more than nginx spends on the log; it checks the shape, not the grammar of numbers.
type object struct {
	// rest is what was not read yet.
	rest []byte
	// key and value are the member that next found. The value is a string without its quotes, or a number or a word as
	// it stands. Invariant: nil for a value that has members of its own, or escapes; nothing that cutover reads has.
	key, value []byte
	opened     bool
	// complete is true once the object was closed and nothing followed.
	complete bool
}

// next finds the next member; false at the end of the object, and where the line is no object.
func (o *object) next() bool {
	if !o.opened {
		o.opened = true
		if !o.take('{') || o.take('}') {
			return false
		}
	} else if !o.take(',') {
		o.complete = o.take('}') && o.blank()
		return false
	}
	return o.readKey() && o.take(':') && o.readValue()
}

// readKey reads a key. One with escapes ends the object: it could be any of ours in disguise.
func (o *object) readKey() bool {
	if !o.take('"') {
		return false
	}
	var ok bool
	o.key, ok = o.quoted()
	return ok && o.key != nil
}

func (o *object) readValue() (ok bool) {
	switch {
	case o.take('"'):
		o.value, ok = o.quoted()
	case o.take('{'), o.take('['):
		o.value, ok = nil, o.skipNested()
	default:
		o.value = o.bare()
		ok = len(o.value) > 0
	}
	return ok
}

// quoted reads the rest of a string and its closing quote; nil text for one with escapes, false for one without an end.
// The strings of a line are so short that one plain loop beats two calls of bytes.IndexByte.
func (o *object) quoted() (text []byte, ok bool) {
	escaped := false
	for i := 0; i < len(o.rest); i++ {
		switch o.rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if !escaped {
				text = o.rest[:i]
			}
			o.rest = o.rest[i+1:]
			return text, true
		}
	}
	return nil, false
}

// bare reads a number or a word, which may be of any form.
func (o *object) bare() []byte {
	end := 0
scan:
	for end < len(o.rest) {
		switch o.rest[end] {
		case ',', '}', ']', '{', '[', ':', '"', ' ', '\t', '\r', '\n':
			break scan
		}
		end++
	}
	text := o.rest[:end]
	o.rest = o.rest[end:]
	return text
}

// skipNested reads to the end of an object or array whose opening was taken.
func (o *object) skipNested() bool {
	for depth := 1; depth > 0; {
		i := bytes.IndexAny(o.rest, `"{}[]`)
		if i < 0 {
			return false
		}
		c := o.rest[i]
		o.rest = o.rest[i+1:]
		switch c {
		case '"':
			if _, ok := o.quoted(); !ok {
				return false
			}
		case '{', '[':
			depth++
		default:
			depth--
		}
	}
	return true
}

// take reads c, after blanks; where another byte stands it reads nothing but the blanks.
func (o *object) take(c byte) bool {
	if len(o.rest) == 0 || o.rest[0] != c { // nginx puts no blanks there
		if o.blank() || o.rest[0] != c {
			return false
		}
	}
	o.rest = o.rest[1:]
	return true
}

// blank drops blanks, and tells whether nothing is left then.
func (o *object) blank() bool {
	for len(o.rest) > 0 {
		switch o.rest[0] {
		case ' ', '\t', '\r', '\n':
			o.rest = o.rest[1:]
		default:
			return false
		}
	}
	return true
}
