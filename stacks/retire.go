package stacks

import (
	"context"
	"fmt"
	"slices"

	"cutover/traffic"
)

// Retire stops the listed services of the color, container by container: the rest of its project may be the user's database. The
// containers, networks and volumes stay. It does not need the compose files, and doing it again changes nothing.
func (c *Compose) Retire(ctx context.Context, color traffic.Color) error {
	s := c.stack(color, "")
	if _, err := c.stop(ctx, s, c.Config.listed()); err != nil {
		return err
	}
	boxes, err := c.Engine.boxes(ctx, s.project, c.Config.listed()...)
	if err != nil {
		return fmt.Errorf("%s: %w", color, err)
	}
	if i := slices.IndexFunc(boxes, box.running); i >= 0 {
		return fmt.Errorf("%s: container %s was stopped and is %s again: somebody else starts it", s.of(boxes[i].Service), boxes[i].Name, boxes[i].State)
	}
	return nil
}
