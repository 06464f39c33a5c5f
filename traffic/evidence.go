package traffic

import (
	"time"

	"cutover/traffic/verdict"
)

// staleAfter is how old the newest evidence may be for an opinion to go up by. It comes many times a second: where it is older, this
// process was suspended, or its source hangs.
const staleAfter = 2 * time.Second

// Hearing is a judge together with how fresh its evidence is. Whoever watches a share asks it and not the judge.
type Hearing struct {
	Judge Judge
	// readTo is up to when the request log was read, by the last batch; lateSince is when that was first found to be old. Zero: it is fresh.
	readTo, lateSince time.Time
}

// Fold hands evidence to the judge and tells whether it fails the candidate now.
func (h *Hearing) Fold(b verdict.Batch) (failed bool) {
	h.Judge.Fold(b)
	if !b.Aside() {
		h.readTo = b.Now
	}
	return h.Judge.Result().Decision == verdict.Failed
}

// Opinion is what the judge thinks. Of evidence that is not fresh only what speaks against the candidate counts; nil otherwise.
func (h *Hearing) Opinion(now time.Time) *verdict.Result {
	fresh := now.Sub(h.readTo) <= staleAfter
	switch {
	case h.Judge.Result().Decision == verdict.Failed:
	case fresh:
		h.lateSince = time.Time{}
		h.Judge.Advance(now)
	case h.lateSince.IsZero():
		h.lateSince = now
		return nil
	case now.Sub(h.lateSince) < staleAfter:
		return nil // just woken: told the time before it has read what came meanwhile, the judge would take all that to be of one moment
	default:
		h.Judge.Advance(now)
	}
	result := h.Judge.Result()
	if fresh || result.Decision == verdict.Failed || result.Decision == verdict.Blind {
		return &result
	}
	return nil
}

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
	if l.hearing.Fold(b) {
		return l.judge(s, l.Now())
	}
	return s
}

func (l *loop) judge(s State, now time.Time) State {
	e := Event{Kind: Judged, At: now}
	if l.following {
		e.Verdict = l.hearing.Opinion(now)
	}
	return l.take(s, Message{Event: e})
}
