// Package traffic decides where an app's traffic goes. It is the story of one rollout:
//
//	idle ─► [waiting] ─► preparing ─► ready ─► shifting(0) ─► soaking(0) ─► [waiting(1)] ─► shifting(1) ─► … ─► baking
//	                         │          │          │              │             │                              │   │
//	                         └──────────┴──────────┴──────────────┴─────────────┴────► cutting-back ◄──────────┘   │
//	                                                                                      │                        ▼
//	                                    reverted · held · aborted · declined · failed ◄───┴──── (cutback) ──── accepted
//	                                                                                                               │
//	                                                                          idle ◄── finishing ◄── keep_warm over┘
//
// state.go holds what is known: plain data. machine.go's Next says what an event makes of it; it is the only function that
// decides, and judged.go has its two rules that matter most, the one that reverts a release and the one that raises a share.
// action.go's Pending says which effect a state waits for. controller.go carries events to Next, writes them down, and then lets
// the effects happen, through the small interfaces in ports.go. explain.go turns a state into sentences. hooks.go names the points
// at which a rollout waits for the user's own commands; evidence.go lets nothing rise on evidence that is not fresh.
//
// Crash rules. Every event that changes the state is in the journal before its effect, so folding Next over the journal gives
// the state of a promoter that died; a cutback alone is done first and written down after. One Recovered event then tells what
// nginx really serves: a promotion that had lost its promoter is cut back, an accepted one goes on to its finish. Nothing is
// ever raised by recovery.
package traffic
