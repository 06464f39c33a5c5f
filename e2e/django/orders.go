package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"cutover/e2e/load"
)

// clients bounds the orders that are on their way at a time.
const clients = 12

// orders is a load of clients who place orders, at an even pace whatever the answers are. Each carries a name of its own, so that
// a client may send it again when its connection ended before an answer, as browsers do; the application places it once.
type orders struct {
	url    string
	client *http.Client
	halt   context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	outcomes []load.Outcome
	skipped  []time.Time
	// accepted are the orders that the application promised to handle: for each a task was sent.
	accepted []int64
}

func startOrders(ctx context.Context, url string) *orders {
	ctx, halt := context.WithCancel(ctx)
	o := &orders{url: url, halt: halt, client: &http.Client{
		Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: clients},
	}}
	o.work.Go(func() { o.pace(ctx) })
	return o
}

// stop places no more orders and waits for the answers to those that are on their way. It may be called again.
func (o *orders) stop() {
	o.halt()
	o.work.Wait()
	o.client.CloseIdleConnections()
}

func (o *orders) pace(ctx context.Context) {
	tick := time.NewTicker(time.Second / placed)
	defer tick.Stop()
	free := make(chan struct{}, clients)
	began := time.Now().UnixMilli()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
			o.work.Go(func() {
				defer func() { <-free }()
				o.place(fmt.Sprintf("%d-%d", began, n), n%9+1)
			})
		default: // all clients wait for answers: this order is not placed, and not placed later
			o.mu.Lock()
			o.skipped = append(o.skipped, time.Now())
			o.mu.Unlock()
		}
	}
}

// place sends one order. It does not hang on the run's context: an order that was on its way when the run ended is not lost.
func (o *orders) place(token string, quantity int) {
	out := load.Outcome{Start: time.Now()}
	body := fmt.Sprintf(`{"customer":"c%d","quantity":%d,"note":"by post"}`, quantity, quantity)
	var told struct {
		ID int64 `json:"id"`
	}
	asked, err := http.NewRequest(http.MethodPost, o.url, bytes.NewBufferString(body))
	if err == nil {
		asked.Header.Set("Idempotency-Key", token) // Go's client sends such a POST again, as it does with a GET
		var answer *http.Response
		if answer, err = o.client.Do(asked); err == nil {
			out.Status, out.Release = answer.StatusCode, answer.Header.Get(load.ReleaseHeader)
			var text []byte
			text, err = io.ReadAll(answer.Body)
			answer.Body.Close()
			if err == nil && out.Status < 300 {
				err = json.Unmarshal(text, &told)
			}
		}
	}
	out.End, out.Err = time.Now(), err
	o.mu.Lock()
	defer o.mu.Unlock()
	o.outcomes = append(o.outcomes, out)
	if told.ID > 0 {
		o.accepted = append(o.accepted, told.ID)
	}
}

// report is the load until now.
func (o *orders) report() load.Report {
	o.mu.Lock()
	defer o.mu.Unlock()
	return load.Report{Outcomes: append([]load.Outcome(nil), o.outcomes...), Skipped: append([]time.Time(nil), o.skipped...)}
}
