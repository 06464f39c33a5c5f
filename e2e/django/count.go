package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	// interval is between two ticks of one beat, in seconds.
	interval = 1.0
	// settled is how long a chapter goes on after its last command, so that a late tick or a late loss belongs to it.
	settled = 4 * time.Second
	// drained is how long the queue may take to be empty. A task that a killed worker had taken is given to another one after the
	// broker's visibility timeout of a minute, for which Celery's Redis transport looks only each 100 s.
	drained = 200 * time.Second
)

// result is .bench/django.json: the whole run, then its parts.
type result struct {
	// Ready is how many seconds the first promotion took until its candidate was ready, the migration among it.
	Ready         float64 `json:"ready_s"`
	Requests      int     `json:"requests"`
	RequestsLost  int     `json:"requests_lost"`
	TasksSent     int     `json:"tasks_sent"`
	TasksLost     int     `json:"tasks_lost"`
	TasksRepeated int     `json:"tasks_repeated"`
	BeatTicks     int     `json:"beat_ticks"`
	BeatDoubled   int     `json:"beat_doubled"`
	// BeatGap is the longest time between two ticks in seconds, of whichever beat; a beat that is never handed over has one each second.
	BeatGap   float64 `json:"beat_gap_s"`
	Promotion part    `json:"promotion"`
	Revert    part    `json:"revert"`
	Back      part    `json:"back"`
}

// part is one chapter.
type part struct {
	Seconds      float64 `json:"seconds"`
	Requests     int     `json:"requests"`
	RequestsLost int     `json:"requests_lost"`
	// UsersHurt had an answer of 500 or above.
	UsersHurt int `json:"users_hurt"`
	beat
	from, to time.Time
}

// beat is what one or more beats did over a time.
type beat struct {
	Ticks   int     `json:"beat_ticks"`
	Doubled int     `json:"beat_doubled"`
	Gap     float64 `json:"beat_gap_s"`
}

// chapter counts at the users what happened since then, and says so. The beats' ticks may still wait in the queue.
func (s *story) chapter(ctx context.Context, p *part, began time.Time) error {
	if err := pause(ctx, settled); err != nil {
		return err
	}
	p.from, p.to = began, time.Now()
	p.Seconds = p.to.Sub(p.from).Seconds()
	lists, placed := s.pages.Report().Between(p.from, p.to).Summary(), s.orders.report().Between(p.from, p.to).Summary()
	p.Requests, p.RequestsLost, p.UsersHurt = lists.Requests+placed.Requests, lists.Lost+placed.Lost, lists.Failed+placed.Failed
	say("users: %d requests in %.0f s, %d lost, %d answered 5xx", p.Requests, p.Seconds, p.RequestsLost, p.UsersHurt)
	return nil
}

// tick is one row of the application's table of ticks.
type tick struct {
	stack string
	at    float64 // seconds since 1970, by the clock that all containers share with us
}

// measure looks at the ticks of a time, all in order. A tick that comes before the interval since another color's tick is over is
// doubled: a beat sends its first one an interval after its start.
func measure(ticks []tick, from, to time.Time) beat {
	first, last := float64(from.UnixMilli())/1000, float64(to.UnixMilli())/1000
	var b beat
	for i, t := range ticks {
		if i > 0 && t.at >= first && ticks[i-1].at < last {
			b.Gap = math.Max(b.Gap, t.at-ticks[i-1].at)
		}
		if t.at < first || t.at >= last {
			continue
		}
		b.Ticks++
		for j := i - 1; j >= 0 && t.at-ticks[j].at < 0.9*interval; j-- {
			if ticks[j].stack != t.stack {
				b.Doubled++
				break
			}
		}
	}
	return b
}

// count ends the load, waits until the workers have done what was sent, and compares.
func (s *story) count(ctx context.Context) error {
	s.orders.stop()
	s.pages.Stop()
	r := &s.result
	err := s.await(ctx, drained, "the end of the queue", func() error { return s.countTasks(ctx) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		say("%v", err) // the numbers are written all the same
		s.lastWords(ctx)
	}
	ticks, err := s.ticks(ctx)
	if err != nil {
		return err
	}
	for i, p := range []*part{&r.Promotion, &r.Revert, &r.Back} {
		p.beat = measure(ticks, p.from, p.to)
		say("beat in part %d: %d ticks, %d doubled, longest time between two %.1f s", i+1, p.Ticks, p.Doubled, p.Gap)
		r.Requests, r.RequestsLost = r.Requests+p.Requests, r.RequestsLost+p.RequestsLost
		r.BeatTicks, r.BeatDoubled, r.BeatGap = r.BeatTicks+p.Ticks, r.BeatDoubled+p.Doubled, math.Max(r.BeatGap, p.Gap)
	}
	say("ready after %.1f s; %d requests, %d lost; %d tasks sent, %d lost, %d done twice; %d ticks, %d doubled", r.Ready,
		r.Requests, r.RequestsLost, r.TasksSent, r.TasksLost, r.TasksRepeated, r.BeatTicks, r.BeatDoubled)
	return writeJSON(results, r)
}

// lastWords shows where tasks may be that were not done: in the broker, or failed in a worker.
func (s *story) lastWords(ctx context.Context) {
	for _, look := range []string{
		"docker exec " + name + "-data-redis-1 redis-cli LLEN celery", "docker exec " + name + "-data-redis-1 redis-cli HLEN unacked",
		"docker logs --tail 40 " + name + "-blue-worker-1 2>&1", "docker logs --tail 40 " + name + "-green-worker-1 2>&1",
	} {
		said, err := output(exec.CommandContext(ctx, "sh", "-c", look))
		fmt.Printf("$ %s\n%s", look, said)
		if err != nil {
			fmt.Println(err)
		}
	}
}

// countTasks compares what the application promised to do with the rows that its workers wrote; an error while some are missing.
func (s *story) countTasks(ctx context.Context) error {
	done, err := s.handled(ctx)
	if err != nil {
		return err
	}
	r := &s.result
	r.TasksSent, r.TasksLost, r.TasksRepeated = len(s.orders.accepted), 0, 0
	for _, id := range s.orders.accepted {
		switch n := done[id]; {
		case n == 0:
			r.TasksLost++
		case n > 1:
			r.TasksRepeated++
		}
	}
	if r.TasksLost > 0 {
		return fmt.Errorf("%d of %d tasks wrote no row", r.TasksLost, r.TasksSent)
	}
	return nil
}

// acceptable is an error where a number is one that no release manager would accept.
func (r result) acceptable() error {
	var wrong []error
	for _, w := range []struct {
		what string
		bad  int
	}{
		{"requests were lost", r.RequestsLost}, {"tasks were lost", r.TasksLost}, {"ticks came from two beats", r.BeatDoubled},
		{"requests failed over the good release", r.Promotion.UsersHurt}, {"requests failed over the release that was taken back by hand", r.Back.UsersHurt},
		{"tasks are missing to a count that proves something", max(0, enough-r.TasksSent)},
	} {
		if w.bad > 0 {
			wrong = append(wrong, fmt.Errorf("%d %s", w.bad, w.what))
		}
	}
	if r.Revert.UsersHurt == 0 {
		wrong = append(wrong, errors.New("the bad release hurt nobody: it was not tried"))
	}
	return errors.Join(wrong...)
}

// handled is how often each order's task was done.
func (s *story) handled(ctx context.Context) (map[int64]int, error) {
	done := map[int64]int{}
	rows, err := s.query(ctx, "SELECT order_id, COUNT(*) FROM orders_handled GROUP BY order_id")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		id, err1 := strconv.ParseInt(row[0], 10, 64)
		n, err2 := strconv.Atoi(row[1])
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		done[id] = n
	}
	return done, nil
}

func (s *story) ticks(ctx context.Context) ([]tick, error) {
	rows, err := s.query(ctx, "SELECT stack, at FROM orders_tick ORDER BY at")
	if err != nil {
		return nil, err
	}
	var all []tick
	for _, row := range rows {
		at, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return nil, err
		}
		all = append(all, tick{row[0], at})
	}
	return all, nil
}

// query asks the database itself, past the application.
func (s *story) query(ctx context.Context, statement string) ([][]string, error) {
	ask := `exec mariadb --batch --skip-column-names -h 127.0.0.1 -u "$DB_USER" -p"$DB_PASSWORD" "$DB_NAME" -e "$0"`
	said, err := output(exec.CommandContext(ctx, "docker", "exec", name+"-data-db-1", "sh", "-c", ask, statement))
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(said) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), "\t"))
	}
	return rows, nil
}
