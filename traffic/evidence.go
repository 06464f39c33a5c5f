package traffic

import (
	"time"

	"cutover/traffic/verdict"
)

// staleAfter is how old the newest evidence may be for an opinion to go up by. It comes many times a second: where it is older, this
// process was suspended, or its source hangs.
const staleAfter = 2 * time.Second

// follow starts the evidence before the first raise, so that the first request of the candidate is seen.
func (l *loop) follow(s State) {
	if l.following || s.Phase() != Shifting || s.Open.Mode != Promotion {
		return
	}
	l.following = true
	l.open++
	go func() {
		err := l.Signal.Follow(l.base, func(b verdict.Batch) {
			select {
			case l.batches <- b:
			case <-l.base.Done():
			}
		})
		if err != nil && l.base.Err() == nil {
			select {
			case l.batches <- verdict.Batch{Now: l.Now(), Fault: err.Error()}:
			case <-l.base.Done():
			}
		}
		l.events <- report{}
	}()
}

// fold hands evidence to the judge, and the judge's opinion to Next at once where it is a failure: a tick is a second of users.
func (l *loop) fold(s State, b verdict.Batch) State {
	l.Judge.Fold(b)
	if !b.Aside() {
		l.readTo = b.Now
	}
	if l.Judge.Result().Decision == verdict.Failed {
		return l.judge(s, l.Now())
	}
	return s
}

func (l *loop) judge(s State, now time.Time) State {
	e := Event{Kind: Judged, At: now}
	if l.following {
		e.Verdict = l.opinion(now)
	}
	return l.take(s, Message{Event: e})
}

// opinion is what the judge thinks. Of evidence that is not fresh only what speaks against the candidate counts; nil otherwise.
func (l *loop) opinion(now time.Time) *verdict.Result {
	fresh := now.Sub(l.readTo) <= staleAfter
	switch {
	case l.Judge.Result().Decision == verdict.Failed:
	case fresh:
		l.lateSince = time.Time{}
		l.Judge.Advance(now)
	case l.lateSince.IsZero():
		l.lateSince = now
		return nil
	case now.Sub(l.lateSince) < staleAfter:
		return nil // just woken: told the time before it has read what came meanwhile, the judge would take all that to be of one moment
	default:
		l.Judge.Advance(now)
	}
	result := l.Judge.Result()
	if fresh || result.Decision == verdict.Failed || result.Decision == verdict.Blind {
		return &result
	}
	return nil
}
