package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// rig is a controller with everything around it, inside a synctest bubble: a goroutine that outlives Run fails the test.
type rig struct {
	traffic.Controller
	*diary
	router *fakeRouter
	stacks *fakeStacks
	signal *fakeSignal
	judge  *fakeJudge
	log    *fakeLog
	inbox  chan traffic.Message
}

func newRig() *rig {
	d := &diary{began: time.Now()}
	in := func(d time.Duration) func(context.Context) error {
		return func(ctx context.Context) error { return takes(ctx, d) }
	}
	r := &rig{
		diary: d,
		router: &fakeRouter{
			diary: d, folder: standing, split: traffic.Split{Rollout: 1, Stable: traffic.Blue},
			onRaise: in(3 * time.Second), onCut: in(50 * time.Millisecond), onFinish: in(5 * time.Second),
		},
		stacks: &fakeStacks{diary: d, onPrepare: in(40 * time.Second), onHandOver: in(4 * time.Second)},
		signal: &fakeSignal{diary: d, batches: make(chan verdict.Batch), lost: make(chan error)},
		judge:  &fakeJudge{diary: d, passAfter: time.Minute},
		log:    &fakeLog{diary: d, fails: func(int) bool { return false }},
		inbox:  make(chan traffic.Message),
	}
	r.Controller = traffic.Controller{
		Router: r.router, Stacks: r.stacks, Signal: r.signal, Judge: r.judge, Log: r.log, Inbox: r.inbox, Now: time.Now,
	}
	return r
}

// opened is a promotion that has just been opened, with the default plan of the scripts and some more of it.
func opened(t *testing.T, plan string) traffic.State {
	s := newScript()
	s.now = time.Now()
	require.NoError(t, s.setPlan(plan))
	require.NoError(t, s.walk("at preparing"))
	return s.state
}

// at is a place of the scripts.
func at(t *testing.T, place string) traffic.State {
	s := newScript()
	s.now = time.Now()
	require.NoError(t, s.walk("at "+place))
	return s.state
}

// later does something after the given time of the bubble, and is waited for by the bubble.
func (r *rig) later(d time.Duration, do func()) {
	go func() {
		time.Sleep(d)
		do()
	}()
}

func (r *rig) send(e traffic.Event) { r.inbox <- traffic.Message{Event: e} }

// bubble runs a test in fake time.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { test(t, newRig()) })
}

func TestControllerPromotes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := opened(t, "")
		end, err := r.Run(t.Context(), s)
		require.NoError(t, err)
		require.True(t, end.Settled())
		require.Equal(t, traffic.Accepted, end.Phase())
		require.Equal(t, traffic.Green, end.Stable)
		require.Equal(t, traffic.Full, r.router.serves())
		require.Equal(t, []string{
			"prepare green v1.4.0", "journal prepared",
			"check green", "journal checked",
			"follow", "raise 5 %",
			"journal judged", // undecided
			"journal raised", "judge from 0.05",
			"journal judged", // pass
			"journal judged", // pass, and soaked
			"raise 20 %", "journal raised", "judge from 0.20", "journal judged", "journal judged", "journal judged",
			"raise 100 %", "journal raised", "judge from 1.00", "journal judged", "journal judged", "journal judged",
			"hand-over green v1.4.0", "hand-over green ended", "journal handed-over",
		}, dropFrom(r.lines()), "every effect but the evidence comes after its line")
		steps := end.Open.Steps
		require.Len(t, steps, 3)
		for i, soak := range []time.Duration{10 * time.Minute, 10 * time.Minute, 20 * time.Minute} {
			require.Equal(t, traffic.Passed, steps[i].How)
			lasted := steps[i].Left.Sub(steps[i].Live)
			require.True(t, lasted >= soak && lasted < soak+2*time.Second, "step %d lasted %v", i, lasted)
		}
		require.True(t, sameButNumbers(end, refold(t, s, r.log.events)), "the journal gives the state again")
		for _, e := range r.log.events {
			require.Equal(t, end.Open.ID, e.Rollout, "%s names its rollout", e.Kind)
		}
	})
}

// dropFrom leaves the order of goroutines that start at the same moment out of the comparison.
func dropFrom(lines []string) []string {
	if i := slices.Index(lines, "follow"); i > 0 && strings.HasPrefix(lines[i-1], "raise") {
		lines[i-1], lines[i] = lines[i], lines[i-1]
	}
	return lines
}

func refold(t *testing.T, s traffic.State, events []traffic.Event) traffic.State {
	for _, e := range events {
		s = traffic.Next(s, deepCopy(t, e))
	}
	return s
}

func TestControllerRevertsOnTheBatch(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		hurt := 12*time.Minute + 345*time.Millisecond
		r.later(hurt, func() {
			r.signal.batches <- verdict.Batch{Samples: []verdict.Sample{{Arm: verdict.Candidate, Bad: true}}}
		})
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, hurt, r.when("cut"), "the cutback waits for no tick")
		require.Zero(t, r.router.serves())
		require.Equal(t, traffic.Reverted, end.Last.Ending)
		require.Equal(t, "1 of 1 failed", end.Last.Why)
		require.Equal(t, traffic.Weight(2000), end.Last.Steps[1].Weight)
		require.Len(t, end.Rejected, 1)
		require.NotContains(t, r.lines(), "raise 100 %")
	})
}

func TestControllerWithoutJournal(t *testing.T) {
	appends := 0
	bubble(t, func(t *testing.T, r *rig) {
		_, err := r.Run(t.Context(), opened(t, "keep_warm=0s"))
		require.NoError(t, err)
		appends = r.log.calls
	})
	for n := range appends {
		for name, fails := range map[string]func(int) bool{
			"from then on": func(i int) bool { return i >= n },
			"once":         func(i int) bool { return i == n },
		} {
			t.Run(fmt.Sprintf("append %d lost %s", n, name), func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig) { runWithoutJournal(t, r, fails) })
			})
		}
	}
}

func runWithoutJournal(t *testing.T, r *rig, fails func(int) bool) {
	r.log.fails = fails
	s := opened(t, "keep_warm=0s")
	end, err := r.Run(t.Context(), s)
	lines := r.lines()
	lost := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "lost") })
	require.GreaterOrEqual(t, lost, 0)
	accepted := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "hand-over green") })
	for _, line := range lines[lost:] {
		require.False(t, strings.HasPrefix(line, "raise"), "%s after the journal was lost", line)
	}
	require.Nil(t, end.Open)
	if accepted >= 0 && accepted < lost {
		require.Equal(t, traffic.Promoted, end.Last.Ending, "what is accepted stays")
	} else {
		require.Equal(t, traffic.Aborted, end.Last.Ending)
		require.Contains(t, end.Last.Why, errDiskFull.Error())
		require.Equal(t, traffic.Blue, end.Stable)
		require.Zero(t, r.router.serves())
	}
	if fails(1 << 20) {
		require.ErrorIs(t, err, errDiskFull)
		return
	}
	if refolded := refold(t, s, r.log.events); err == nil {
		require.True(t, sameButNumbers(end, refolded), "what could not be written comes later, in order")
	} else {
		require.ErrorIs(t, err, errDiskFull, "the very last line is lost")
	}
}

func TestControllerCutsBeforeItWrites(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.later(5*time.Minute, func() {
			r.log.slow = time.Minute // a disk that hangs
			r.send(traffic.Event{Kind: traffic.AbortAsked, Why: "ann changed her mind"})
		})
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, 5*time.Minute, r.when("cut"))
		require.Equal(t, 6*time.Minute, r.when("journal abort-asked"))
		require.Equal(t, traffic.Aborted, end.Last.Ending)
	})
}

func TestControllerAbortsAHangingRaise(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.router.onRaise = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(5 * time.Second) // it does not notice at once
			return nil
		}
		ctx, stop := context.WithCancelCause(t.Context())
		r.later(2*time.Minute, func() { stop(errors.New("terminated")) })
		end, err := r.Run(ctx, opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, 2*time.Minute, r.when("cut"), "the cutback does not wait for the raise")
		require.Equal(t, 2*time.Minute+5*time.Second, time.Since(r.began), "Run waits for what it started")
		require.Equal(t, traffic.Aborted, end.Last.Ending)
		require.Equal(t, "stopped: terminated", end.Last.Why)
		require.Empty(t, end.Last.Steps, "the late report of the raise counts for nothing")
		require.Zero(t, r.router.serves())
	})
}

func TestControllerCutsBackWhenItsContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, stop := context.WithCancel(t.Context())
		r.later(7*time.Minute, stop)
		end, err := r.Run(ctx, opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, 7*time.Minute, r.when("cut"))
		require.Empty(t, end.Last.Unproven, "the proof outlives the context")
		require.Zero(t, r.router.serves())
	})
}

func TestControllerProvesACutbackForAWhileOnly(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.router.onCut = func(ctx context.Context) error { return takes(ctx, time.Hour) }
		r.later(5*time.Minute, func() { r.send(traffic.Event{Kind: traffic.AbortAsked, Why: "ann changed her mind"}) })
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, 5*time.Minute+15*time.Second, time.Since(r.began))
		require.Contains(t, end.Last.Unproven, "prove the cutback")
	})
}

func TestControllerWritesEachMessageOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.later(5*time.Minute, func() {
			r.inbox <- traffic.Message{Event: traffic.Event{Kind: traffic.Paused, At: time.Now(), By: ann}, Recorded: true}
		})
		r.later(20*time.Minute, func() {
			r.send(traffic.Event{Kind: traffic.Resumed, At: time.Now(), By: ann})
			close(r.inbox)
		})
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.NotContains(t, r.lines(), "journal paused", "whoever sent it has written it")
		require.Contains(t, r.lines(), "journal resumed")
		require.Greater(t, r.when("raise 20 %"), 20*time.Minute, "paused until then")
		require.Equal(t, traffic.Accepted, end.Phase(), "an inbox that is closed ends nothing")
	})
}

func TestControllerNoticesACutbackWithoutItsLine(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		gone := 5*time.Minute + 100*time.Millisecond
		r.later(gone, r.router.remove)
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, traffic.Aborted, end.Last.Ending)
		require.Equal(t, "somebody cut back", end.Last.Why)
		require.Len(t, end.Rejected, 1)
		require.LessOrEqual(t, time.Since(r.began), gone+3*time.Second)
	})
}

func TestControllerLosesItsEvidence(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.later(5*time.Minute, func() { r.signal.lost <- errors.New("the log is gone") })
		end, err := r.Run(t.Context(), opened(t, "inconclusive=15m/proceed"))
		require.NoError(t, err)
		require.Equal(t, traffic.Held, end.Last.Ending)
		require.Equal(t, "no evidence for 15m0s: the log is gone", end.Last.Why)
		require.InDelta(t, (20 * time.Minute).Seconds(), r.when("cut").Seconds(), 2)
		require.NotContains(t, r.lines(), "raise 20 %")
	})
}

func TestControllerTakesTheWorkersBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		slow := true
		r.stacks.onHandOver = func(ctx context.Context) error {
			if slow {
				slow = false
				<-ctx.Done()
				time.Sleep(5 * time.Second) // compose takes its time to stop
				return ctx.Err()
			}
			return takes(ctx, time.Second)
		}
		r.later(50*time.Minute, func() { r.send(traffic.Event{Kind: traffic.CutSeen, At: time.Now(), Why: "ann took it back"}) })
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, 50*time.Minute, r.when("cut"))
		require.Equal(t, []string{"hand-over green ended", "hand-over blue v1.3.2", "hand-over blue ended", "journal handed-over"},
			r.lines()[len(r.lines())-4:], "never two at a time, and the first one's last words count for nothing")
		require.Equal(t, traffic.Blue, end.Stable)
		require.Empty(t, end.Last.Trouble)
	})
}

func TestControllerFailsAStack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.stacks.onPrepare = func(context.Context) error {
			return &traffic.Fault{Kind: traffic.NotReady, Err: errors.New("backend is not ready")}
		}
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, traffic.Failed, end.Last.Ending)
		require.Equal(t, traffic.NotReady, r.log.events[0].Fault, "the kind of the fault reaches the journal")
	})
}

func TestControllerMovesByHand(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Signal, r.Judge, r.Inbox = nil, nil, nil // nobody judges it, nobody asks meanwhile
		end, err := r.Run(t.Context(), at(t, "hand-made"))
		require.NoError(t, err)
		require.True(t, end.Settled())
		require.Equal(t, traffic.Weight(2000), r.router.serves())
		require.Equal(t, []string{"check green", "journal checked", "raise 20 %", "journal raised"}, r.lines())
	})
}

func TestControllerStaysForNothing(t *testing.T) {
	for _, place := range []string{"idle", "ended", "warm", "20 by hand"} {
		t.Run(place, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				s := at(t, place)
				end, err := r.Run(t.Context(), s)
				require.NoError(t, err)
				require.Equal(t, s, end)
				require.Empty(t, r.lines())
			})
		})
	}
}

func TestControllerFinishes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.router.split.Weight = traffic.Full
		r.router.onFinish = func(context.Context) error { return errors.New("2 old workers still serve") }
		s, err := r.Run(t.Context(), at(t, "finishing"))
		require.NoError(t, err)
		require.True(t, s.Settled(), "nobody waits for old workers")
		require.Equal(t, "2 old workers still serve", s.Open.Trouble)
		r.router.onFinish = func(ctx context.Context) error { return takes(ctx, time.Second) }
		s, err = r.Run(t.Context(), traffic.Next(s, traffic.Event{Kind: traffic.FinishNow, At: time.Now()}))
		require.NoError(t, err)
		require.Nil(t, s.Open)
		require.Equal(t, []string{"finish", "journal finish-failed", "finish", "journal finished", "retire blue", "journal retired"}, r.lines())
		require.Equal(t, traffic.Full, r.router.serves())
	})
}

func TestControllerFinishesForAWhileOnly(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.router.onFinish = func(ctx context.Context) error { return takes(ctx, time.Hour) } // a silent connection
		s, err := r.Run(t.Context(), at(t, "finishing"))
		require.NoError(t, err)
		require.Less(t, time.Since(r.began), time.Minute)
		require.True(t, s.Settled())
		require.Contains(t, s.Open.Trouble, "deadline exceeded")
	})
}

func TestControllerLosesTheRaceForTheFolder(t *testing.T) {
	for _, place := range []string{"finishing", "shifting(1)"} {
		t.Run(place, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.router.remove()
				end, err := r.Run(t.Context(), at(t, place))
				require.NoError(t, err)
				require.Equal(t, traffic.Aborted, end.Last.Ending)
				require.Contains(t, end.Last.Why, traffic.ErrCut.Error())
				require.Equal(t, traffic.Blue, end.Stable)
			})
		})
	}
}

func TestControllerTells(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var phases []traffic.Phase
		r.Tell = func(before, after traffic.State, e traffic.Event) {
			require.NotEmpty(t, e.Kind)
			if before.Phase() != after.Phase() {
				phases = append(phases, after.Phase())
			}
		}
		_, err := r.Run(t.Context(), opened(t, "steps=100:0s bake=2m keep_warm=0s"))
		require.NoError(t, err)
		require.Equal(t, []traffic.Phase{
			traffic.Ready, traffic.Shifting, traffic.Baking, traffic.Accepted, traffic.Finishing, traffic.Idle,
		}, phases)
	})
}
