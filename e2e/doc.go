// Package e2e plays whole scenes on the real thing: the built binary, Docker, Compose, nginx and users who count what they lose.
// Each scene sets a stage of its own up (package stage), has something typed at it, and looks only from outside: exit codes,
// output, the journal, the containers, and what the users got. main_test.go builds what all of them need, scene_test.go is how one
// is told. The attack (attack_test.go) freezes cutover itself before the system call that a sequence names (hold_test.go), and kills
// nginx or cuts back meanwhile: after each sequence no request is on the wrong color, and nginx starts. Scenes named TestLaw… hold one
// of these:
//
//  1. Upwards only by proof, or by the plan's own rule for too little evidence, and recorded as the one or the other.
//  2. A cutback always works, whatever else is broken, and says where the traffic is.
//  3. Effects are proven by asking nginx, never assumed from an exit code.
//  4. A broken configuration never reaches a running nginx, nor one that restarts.
//  5. The journal is written before the effect, and survives whatever kills the writer.
//  6. Silence is not health: without evidence a rollout holds, says so, and in the end goes back.
//  7. Stable's web services are not touched before the candidate was baked and accepted.
//  8. No candidate is unwatched: whatever ends its promoter ends with the traffic on stable.
//  9. The same input gives the same decision: a rollout's log and journal tell the same again, anywhere.
package e2e
