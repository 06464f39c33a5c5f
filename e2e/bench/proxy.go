package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"cutover/e2e/load"
)

const (
	proxyRounds = 31
	// proxyTime is how long a sample of one proxy takes.
	proxyTime = 300 * time.Millisecond
	// slowPath is a page for which the application takes 5 ms, and slowRate how often it is asked for: users who do not wait for each other.
	slowPath = "slow?ms=5"
	slowRate = 500
)

// proxied is an nginx to be weighed.
type proxied struct {
	name, url string
	master    int
}

// proxyCost weighs what cutover's lines cost nginx, with a share of one half, beside a configuration by hand that splits and logs the
// same: the workers' CPU time per request, and what an application that takes 5 ms leaves of it in the time of an answer.
func (b *bench) proxyCost(ctx context.Context) ([]row, error) {
	y := &b.yard
	for _, s := range []func() error{
		func() error { return typed(ctx, y.reload, "shift", "--to", "green", "--weight", "50", "--no-guard") },
		func() error { return typed(ctx, y.live, "shift", "--to", "green", "--weight", "50", "--no-guard") },
		func() error { return errors.Join(y.script.to(ctx, "both"), y.script.proven(ctx)) },
	} {
		if err := s(); err != nil {
			return nil, err
		}
	}
	sides := []proxied{
		{"reload", y.reload.URL(), y.reload.NginxPID()}, {"live", y.live.URL(), y.live.NginxPID()}, {"", y.script.url(), y.script.NginxPID()},
	}
	cpu, times := make([][]float64, len(sides)), make([][]float64, len(sides))
	for range proxyRounds {
		for n, side := range sides {
			used, err := side.sample(ctx)
			if err != nil {
				return nil, err
			}
			cpu[n] = append(cpu[n], used)
			took, err := side.answers(ctx)
			if err != nil {
				return nil, err
			}
			times[n] = append(times[n], took)
		}
	}
	const versus = "nginx by hand, with the same access log"
	byHand := len(sides) - 1
	var rows []row
	for n, side := range sides[:byHand] {
		rows = append(rows,
			alone("proxy_cpu_"+side.name, "µs/request", median(cpu[n]), proxyRounds).against(versus, median(cpu[byHand])),
			alone("proxy_time_"+side.name+"_5ms", "ms/request", median(times[n]), proxyRounds).against(versus, median(times[byHand])))
	}
	return rows, errors.Join(typed(ctx, y.reload, "back"), typed(ctx, y.live, "back"), y.script.to(ctx, "blue"))
}

// sample is the workers' CPU time per request, in microseconds.
func (p proxied) sample(ctx context.Context) (float64, error) {
	workers, err := workersOf(p.master)
	if err != nil {
		return 0, err
	}
	before, err := cpuTime(workers)
	if err != nil {
		return 0, err
	}
	sockets, err := load.StartSockets(ctx, load.Plan{URL: p.url, Rate: yardRate, Workers: lossWorkers})
	if err != nil {
		return 0, err
	}
	err = pause(ctx, proxyTime)
	report := sockets.Stop()
	after, usedErr := cpuTime(workers)
	if err := errors.Join(err, usedErr); err != nil {
		return 0, err
	}
	answered := report.Count(load.Answered)
	if answered == 0 || answered < len(report.Outcomes) {
		return 0, fmt.Errorf("%s answered %d of %d requests", p.url, answered, len(report.Outcomes))
	}
	return float64((after - before).Nanoseconds()) / 1000 / float64(answered), nil
}

// answers is the median time of an answer of the slow application, in milliseconds.
func (p proxied) answers(ctx context.Context) (float64, error) {
	users, err := load.Start(ctx, load.Plan{URL: p.url + slowPath, Rate: slowRate, Workers: lossWorkers})
	if err != nil {
		return 0, err
	}
	err = pause(ctx, proxyTime)
	report := users.Stop()
	if err != nil {
		return 0, err
	}
	var took []float64
	for _, o := range report.Outcomes {
		if !o.Lost() {
			took = append(took, milliseconds(o.End.Sub(o.Start)))
		}
	}
	if len(took) == 0 {
		return 0, fmt.Errorf("%s did not answer", p.url)
	}
	return median(took), nil
}

// cpuTime is what the processes have used, by the scheduler's own clock: ticks are too coarse.
func cpuTime(pids []int) (time.Duration, error) {
	var all time.Duration
	for _, pid := range pids {
		path := "/proc/" + strconv.Itoa(pid) + "/schedstat"
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		used, _, _ := strings.Cut(string(text), " ")
		nanoseconds, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		all += time.Duration(nanoseconds)
	}
	return all, nil
}
