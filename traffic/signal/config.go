package signal

import "fmt"

// Config is the section signals of cutover.yaml: where the evidence comes from.
type Config struct {
	AccessLog  AccessLogConfig  `yaml:"access_log"`
	Prometheus PrometheusConfig `yaml:"prometheus"`
	Scrape     ScrapeConfig     `yaml:"scrape"`
	Guards     []GuardConfig    `yaml:"guards"`
}

// AccessLogConfig names the log that the judge reads.
type AccessLogConfig struct {
	// Path is absolute. Empty means /var/log/nginx/cutover-<app>.log.
	Path string `yaml:"path"`
	// Format is empty for the log that nginx writes through server.conf. Else Path is a log that the user's own configuration writes,
	// and this is its log_format, as ParseFormat takes it.
	Format string `yaml:"format"`
}

// Layout is the format of the user's own; nil for cutover's.
func (c AccessLogConfig) Layout() (*Format, error) {
	if c.Format == "" {
		return nil, nil
	}
	return ParseFormat(c.Format)
}

func (c AccessLogConfig) validate() error {
	if p := c.Path; p != "" && p[0] != '/' {
		return fmt.Errorf("signals.access_log.path: %q must be absolute, nginx reads it from another folder", p)
	}
	if c.Format != "" && c.Path == "" {
		return fmt.Errorf("signals.access_log.format: it is that of a log of your own, which signals.access_log.path must name")
	}
	if _, err := c.Layout(); err != nil {
		return fmt.Errorf("signals.access_log.format: %w", err)
	}
	return nil
}

// Validate reports a path that cannot be meant.
func (c Config) Validate() error {
	if err := c.AccessLog.validate(); err != nil {
		return err
	}
	if err := c.Prometheus.Validate(); err != nil {
		return err
	}
	if err := c.Scrape.Validate(); err != nil {
		return err
	}
	return c.validateGuards()
}
