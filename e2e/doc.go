// Package e2e plays whole scenes on the real thing: the built binary, Docker, Compose, nginx and users who count what they lose.
// Each scene sets a stage of its own up (package stage), has something typed at it, and looks only from outside: exit codes,
// output, the journal, the containers, and what the users got. A scene is named after the law or the line of DESIGN.md that it
// holds. main_test.go builds what all of them need, scene_test.go is how one is told.
package e2e
