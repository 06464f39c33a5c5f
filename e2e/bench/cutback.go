package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"cutover/e2e/load"
)

const (
	rate    = 1000 // requests a second
	workers = 32
	// yardRate is that of the clients in the yard, where the last answer is to be dated more finely.
	yardRate = 2000
	// enough answers of the candidate show that its raise is over, with its proof and all its old workers.
	enough = 200
	// quiet is how long the candidate must have been silent to be taken for gone: longer than old workers of nginx linger.
	quiet = 600 * time.Millisecond

	guardianRounds = 7
	cutbackRounds  = 9
	yardRounds     = 31
	// cutbackWeight lets every other request tell who answers: the candidate's last answer is dated no finer than its requests
	// are apart.
	cutbackWeight = 50
)

// cutback is how one went, by the clients' clock.
type cutback struct {
	// last is when the candidate's last answer was complete, counted from the start of the command.
	last time.Duration
	// strays are the requests that began after the command's end and were still answered by the candidate.
	strays int
}

// cut lets users in by the plan, has the candidate's share taken away by down, and watches until the candidate is silent.
func cut(ctx context.Context, plan load.Plan, down func() error) (cutback, error) {
	users, err := load.Start(ctx, plan)
	if err != nil {
		return cutback{}, err
	}
	defer users.Stop()
	tally := func() load.Tally { return users.Snapshot().Releases[candidate.Tag] }
	if err := until(ctx, "the candidate got its share", func() bool { return tally().Answers >= enough }); err != nil {
		return cutback{}, err
	}
	began := time.Now()
	if err := down(); err != nil {
		return cutback{}, err
	}
	ended := time.Now()
	silent := func() bool { return time.Since(ended) > quiet && time.Since(tally().Last) > quiet }
	if err := until(ctx, "the candidate was silent", silent); err != nil {
		return cutback{}, err
	}
	report := users.Stop()
	return cutback{
		last:   max(0, report.Summary().Releases[candidate.Tag].Last.Sub(began)),
		strays: report.Between(ended, time.Now()).Summary().Releases[candidate.Tag].Answers,
	}, nil
}

// at is the usual load.
func at(url string) load.Plan { return load.Plan{URL: url, Rate: rate, Workers: workers} }

// guardianCutback kills promoters at 20 % without a word.
func (b *bench) guardianCutback(ctx context.Context) ([]row, error) {
	var last []float64
	for range guardianRounds {
		p, err := b.promote(ctx)
		if err != nil {
			return nil, err
		}
		took, err := cut(ctx, at(b.URL()), p.kill)
		if err := p.end(err); err != nil {
			return nil, err
		}
		last = append(last, milliseconds(took.last))
	}
	return []row{alone("guardian_cutback", "ms", median(last), guardianRounds)}, nil
}

// cutbackReloadMode types `cutover back`, and by turns what people type without cutover, on the same nginx under the same load.
func (b *bench) cutbackReloadMode(ctx context.Context) ([]row, error) {
	const versus = "nginx -t && nginx -s reload"
	var ours, theirs []float64
	var ourStrays, theirStrays int
	for range cutbackRounds {
		if err := b.typed(ctx, "shift", "--to", "green", "--weight", strconv.Itoa(cutbackWeight)); err != nil {
			return nil, err
		}
		took, err := cut(ctx, at(b.URL()), func() error { return b.typed(ctx, "back") })
		if err != nil {
			return nil, fmt.Errorf("cutover back: %w", err)
		}
		ours, ourStrays = append(ours, milliseconds(took.last)), ourStrays+took.strays
		if took, err = b.rivalRound(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", versus, err)
		}
		theirs, theirStrays = append(theirs, milliseconds(took.last)), theirStrays+took.strays
	}
	return []row{
		alone("cutback_reload_mode", "ms", median(ours), cutbackRounds).against(versus, median(theirs)),
		// the sums of all rounds: one stray is one too many, and a median would hide it
		alone("cutback_reload_mode_strays", "requests", float64(ourStrays), cutbackRounds).against(versus, float64(theirStrays)),
	}, nil
}

// rivalFile is the rival's part of nginx's configuration, beside nginx.conf.
const rivalFile = "rival.conf"

// rivalPort is where users of the rival come in.
const rivalPort = firstPort + 10

// rival is the usual way: weights in an upstream that people edit in place. It proxies as the stage's server block does, and writes
// no access log, which is in its favour.
var rival = template.Must(template.New("rival").Parse(`upstream rival {
    server {{.Blue}}{{.BlueWeight}};
    server {{.Green}}{{.GreenWeight}};
    keepalive 16;
}
server {
    listen 127.0.0.1:{{.Port}};
    location / {
        proxy_pass http://rival;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_read_timeout 5s;
    }
}
`))

// share is what the rival's upstream says after each of its servers. A weight of 0 is no weight to nginx.
type share struct{ BlueWeight, GreenWeight string }

var (
	both     = share{fmt.Sprintf(" weight=%d", 100-cutbackWeight), fmt.Sprintf(" weight=%d", cutbackWeight)}
	blueOnly = share{"", " down"}
)

func (b *bench) writeRival(s share) error {
	f, err := os.Create(filepath.Join(filepath.Dir(b.NginxConf()), rivalFile))
	if err != nil {
		return err
	}
	defer f.Close()
	return rival.Execute(f, struct {
		share
		Blue, Green string
		Port        int
	}{s, b.Address("blue"), b.Address("green"), rivalPort})
}

// rivalRound is one cutback the usual way. Its clock includes the edit, which takes a program some microseconds.
func (b *bench) rivalRound(ctx context.Context) (cutback, error) {
	if err := b.reload(ctx, both); err != nil {
		return cutback{}, err
	}
	url := "http://127.0.0.1:" + strconv.Itoa(rivalPort) + "/"
	return cut(ctx, at(url), func() error { return b.reload(ctx, blueOnly) })
}

// reload edits the rival's weights and types what makes nginx read them.
func (b *bench) reload(ctx context.Context, s share) error {
	if err := b.writeRival(s); err != nil {
		return err
	}
	nginx := fmt.Sprintf("nginx -q -p '%s' -c '%s'", filepath.Dir(b.NginxConf()), b.NginxConf())
	said, err := exec.CommandContext(ctx, "sh", "-c", nginx+" -t && "+nginx+" -s reload").CombinedOutput()
	if err != nil {
		return fmt.Errorf("reload nginx: %w: %s", err, said)
	}
	return nil
}
