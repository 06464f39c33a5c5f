package signal

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Format is the layout of a log that somebody else's log_format writes.
type Format struct {
	layout layout
	// Colored tells that each line names the color that answered.
	Colored bool
}

// combined are the words that nginx has for its own format.
const combined = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`

// variable is one of nginx's in a pattern.
var variable = regexp.MustCompile(`\$(\w+|\{\w+\})`)

// ParseFormat reads a pattern as it stands behind log_format, without the quotes around it: $variables with texts between them.
// "combined" at its beginning stands for nginx's own. It needs $upstream_addr, $upstream_status, $status, and a time: $msec, or the less
// exact $time_iso8601 or $time_local. The errors say what is missing, or why a line could not be told apart.
//
// The log must be written with escape=default or escape=json: a client's own text cannot hold a plain quote then, so that whatever
// clients send stays between its quotes.
func ParseFormat(pattern string) (*Format, error) {
	if rest, ok := strings.CutPrefix(pattern, "combined"); ok && (rest == "" || rest[0] == ' ') {
		pattern = combined + rest
	}
	if strings.ContainsAny(pattern, "\r\n") {
		return nil, errors.New("a line of a log has no line breaks: put the pattern on one line")
	}
	named := variable.FindAllStringIndex(pattern, -1)
	if len(named) == 0 {
		return nil, fmt.Errorf("%q names no variable of nginx, such as $upstream_addr", pattern)
	}
	f := &Format{layout: layout{before: []byte(pattern[:named[0][0]])}}
	names := make([]string, len(named))
	for i, at := range named {
		names[i] = strings.Trim(pattern[at[0]:at[1]], "${}")
		until := len(pattern)
		if i+1 < len(named) {
			until = named[i+1][0]
		}
		p := place{field: fieldOfVariable(names[i]), after: []byte(pattern[at[1]:until])}
		if until == at[1] && i+1 < len(named) {
			return nil, fmt.Errorf("nothing stands between $%s and the variable behind it, so that nobody can tell where it ends", names[i])
		}
		if p.ends = p.ending(names[i]); p.ends == endsList && betweenAttempts.Match(p.after) {
			return nil, fmt.Errorf("what stands behind $%s looks like what nginx writes between two attempts; put it in quotes: \"$%s\"", names[i], names[i])
		}
		f.layout.places = append(f.layout.places, p)
	}
	if strings.Contains(variable.ReplaceAllString(pattern, ""), "$") {
		return nil, errors.New("a $ without the name of a variable behind it")
	}
	f.Colored = f.has(colorField)
	if err := f.whole(); err != nil {
		return nil, err
	}
	if err := f.forged(names); err != nil {
		return nil, err
	}
	return f, nil
}

// betweenAttempts is a text that nginx may write inside of a list.
var betweenAttempts = regexp.MustCompile(`^(,| :)`)

// ending tells how the end of the variable's value is found by what stands behind it.
func (p place) ending(name string) ending {
	switch {
	case len(p.after) == 0:
		return endsLine
	case p.after[0] == '"':
		return endsQuote
	case strings.HasPrefix(name, "upstream_"):
		return endsList
	}
	return endsText
}

// fieldOfVariable tells which value nginx's variable has. Those of cutover have the app's name in theirs.
func fieldOfVariable(name string) field {
	switch name {
	case "msec":
		return timeField
	case "time_iso8601":
		return isoField
	case "time_local":
		return localField
	case "status":
		return statusField
	case "upstream_addr":
		return addressField
	case "upstream_status":
		return answerField
	case "upstream_response_time":
		return tookField
	case "upstream_trailer_grpc_status":
		return grpcField
	case "upstream_http_grpc_status":
		return grpcAtOnceField
	}
	if !strings.HasPrefix(name, "cutover_") {
		return otherField
	}
	switch {
	case strings.HasSuffix(name, "__override"):
		return overrideField
	case strings.HasSuffix(name, "__route"):
		return routeField
	case strings.HasSuffix(name, "_color"):
		return colorField
	}
	return otherField
}

func (f *Format) has(wanted field) bool {
	for _, p := range f.layout.places {
		if p.field == wanted {
			return true
		}
	}
	return false
}

// whole tells what the judge would miss.
func (f *Format) whole() error {
	var missing []string
	if !f.has(timeField) && !f.has(isoField) && !f.has(localField) {
		missing = append(missing, "$msec")
	}
	for _, needed := range []struct {
		field field
		name  string
	}{{statusField, "$status"}, {addressField, "$upstream_addr"}, {answerField, "$upstream_status"}} {
		if !f.has(needed.field) {
			missing = append(missing, needed.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s missing: without it nobody can tell which color failed, and when", strings.Join(missing, ", "))
}

// harmless are the variables whose text no client chooses; those of upstreams and of cutover are told by their beginnings.
var harmless = regexp.MustCompile(`^(remote_addr|remote_port|realip_remote_addr|realip_remote_port|proxy_protocol_addr|proxy_protocol_port|` +
	`server_addr|server_port|server_name|server_protocol|scheme|https|status|body_bytes_sent|bytes_sent|request_time|request_length|` +
	`request_id|request_method|request_completion|msec|time_local|time_iso8601|connection|connection_requests|connection_time|pipe|pid|` +
	`hostname|nginx_version|gzip_ratio|ssl_protocol|ssl_cipher|ssl_session_reused|limit_req_status|limit_conn_status|tcpinfo_\w+|` +
	`upstream_(addr|status|response_time|connect_time|header_time|queue_time|bytes_sent|bytes_received|response_length|cache_status)|` +
	`upstream_(trailer|http)_grpc_status|cutover_\w+)$`)

// forged tells which value a client could use to write evidence of his own: one that is not in quotes, where he could go on with the
// text that stands behind it. A time right behind it is no help to him if quotes follow that: he cannot write one, and what is no time makes
// the line foreign.
func (f *Format) forged(names []string) error {
	for i, p := range f.layout.places {
		if harmless.MatchString(names[i]) || bytes.IndexByte(p.after, '"') >= 0 || i == len(names)-1 {
			continue
		}
		next := f.layout.places[i+1]
		if (next.field == localField || next.field == isoField) && bytes.IndexByte(next.after, '"') >= 0 {
			continue
		}
		return fmt.Errorf("$%s is what clients like and has no quotes around it: whoever sends spaces could make up the rest of the line; write \"$%s\"", names[i], names[i])
	}
	return nil
}
