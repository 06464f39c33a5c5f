package nginxconf

import "flag"

// update makes the golden tests write what they got; the difference is for a human to read.
var update = flag.Bool("update", false, "rewrite golden files")
