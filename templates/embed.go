// Package templates holds everything that cutover writes for somebody else to read: nginx's files and the first cutover.yaml.
// A template gets a plain struct, validated and sorted; what comes from outside goes through a quoting func.
package templates

import "embed"

// Files holds the templates by their path below this folder, such as nginx/http.conf.tmpl.
//
//go:embed nginx compose
var Files embed.FS
