// Package templates holds everything that cutover writes for somebody else to read: nginx's files, the first cutover.yaml, systemd's unit,
// the page of a report.
// A template gets a plain struct, validated and sorted; what comes from outside goes through a quoting func.
package templates

import "embed"

// Files holds the templates by their path below this folder, such as nginx/http.conf.tmpl.
//
//go:embed nginx compose report systemd
var Files embed.FS
