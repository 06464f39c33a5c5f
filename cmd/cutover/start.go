package main

import "strings"

// typedBack reads a command line that says `cutover back`, with flags of it before and behind the word, each once and with a value of
// its own. Anything else, mistakes and --help among it, it leaves to the table of commands, which takes a cutback longer to make than
// its rename.
func (i *invocation) typedBack(args []string) (backFlags, bool) {
	var f backFlags
	shared := map[string]*string{"config": &f.config, "env": &f.environment}
	own := map[string]*string{"app": &f.app, "dir": &f.dir, "why": &f.why}
	said, output := false, 0
	for n := 1; n < len(args); n++ {
		name, value, valued := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(args[n], "-"), "-"), "=")
		into, known := shared[name]
		if said && !known {
			into, known = own[name]
		}
		switch {
		case args[n] == "back" && !said:
			said = true
		case said && output == 0 && (args[n] == "--json" || args[n] == "--events"):
			output++
		case !known || !strings.HasPrefix(args[n], "-"):
			return f, false
		case valued:
			*into = value
		case n+1 < len(args) && args[n+1] != "" && !strings.HasPrefix(args[n+1], "-"):
			n++
			*into = args[n]
		default:
			return f, false
		}
		if known {
			delete(shared, name)
			delete(own, name)
		}
	}
	f.config, f.environment = orElse(f.config, i.env("CUTOVER_CONFIG")), orElse(f.environment, i.env("CUTOVER_ENV"))
	return f, said
}
