package signal

import "fmt"

// Config is the section signals of cutover.yaml: where the evidence comes from.
type Config struct {
	AccessLog AccessLogConfig `yaml:"access_log"`
}

// AccessLogConfig names the log that nginx writes through server.conf.
type AccessLogConfig struct {
	// Path is absolute. Empty means /var/log/nginx/cutover-<app>.log.
	Path string `yaml:"path"`
}

// Validate reports a path that cannot be meant.
func (c Config) Validate() error {
	if p := c.AccessLog.Path; p != "" && p[0] != '/' {
		return fmt.Errorf("signals.access_log.path: %q must be absolute, nginx reads it from another folder", p)
	}
	return nil
}
