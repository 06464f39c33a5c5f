package traffic

import "errors"

// Kind classes a fault by what its reader must do; cmd/cutover gives each kind its exit code.
type Kind string

// The kinds of fault.
const (
	Usage     Kind = "usage"     // what was typed or configured cannot be meant
	Preflight Kind = "preflight" // host, nginx, folders, log or ports are not as they must be; nothing was changed
	Policy    Kind = "policy"    // a rule of the environment forbids it
	NotReady  Kind = "not-ready" // a stack did not come up; traffic was not touched
	Refused   Kind = "refused"   // nginx refused a tree, or did not serve it
	Busy      Kind = "busy"      // somebody else holds the app
	Unproven  Kind = "unproven"  // nobody can tell what nginx serves
)

// Fault is an error with its three readers: Kind for a program, Err for who looks for the cause, Hint for who can mend it.
type Fault struct {
	Kind Kind
	Err  error
	// Hint says what to do next, in one or two sentences; empty where nobody knows.
	Hint string
	// Detail is output of somebody else (nginx -t, a container's last lines), shown below the error. Often empty.
	Detail []string
}

// Error gives the cause; hint and detail are for the command that prints them.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// KindOf finds the kind of the first fault in an error's chain, and "" where there is none.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Kind
	}
	return ""
}
