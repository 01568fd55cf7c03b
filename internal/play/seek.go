package play

import "time"

// key does what the viewer wants.
func (p *Player) key(k Key) error {
	switch k {
	case KeyPause:
		p.anchor(p.position())
		p.paused, p.steps, p.live = !p.paused, 0, false
	case KeyStep:
		if p.paused {
			p.steps++
		}
	case KeyFaster, KeySlower:
		p.anchor(p.position())
		factor := 2.0
		if k == KeySlower {
			factor = 0.5
		}
		p.Speed = min(max(p.Speed*factor, MinSpeed), MaxSpeed)
		p.live = false
	case KeyForward:
		return p.forward()
	case KeyBack:
		return p.back()
	}
	return nil
}

// aim is where one is, or where a seek under way goes.
func (p *Player) aim() time.Duration {
	if p.burst != nil && p.target != forever {
		return p.target
	}
	return p.position()
}

func (p *Player) forward() error {
	if p.live {
		return nil
	}
	to := p.aim() + seekStep
	if f := p.next; f != nil && f.at > to {
		p.anchor(to)
		return nil
	}
	p.seek(to)
	if f := p.next; f != nil {
		p.next = nil
		p.pass(*f)
	}
	return nil
}

// back goes to the start, or a picture behind it, and from there on.
func (p *Player) back() error {
	to := max(p.aim()-seekStep, 0)
	p.tape.close()
	shown := p.filter.term
	if p.burst != nil { // what it holds was never shown
		shown = p.burst.start
	}
	p.next, p.burst, p.live, p.steps = nil, nil, false, 0
	p.out = shown.appendDefaults(p.out[:0])
	if p.Raw {
		p.out = append(p.out, rawRestore...)
	}
	p.out = append(p.out, clearScreen...)
	p.filter = Filter{}
	if err := p.write(p.out); err != nil {
		return err
	}
	p.startFor(to)
	return nil
}

// seek begins to pass over everything up to the target.
func (p *Player) seek(target time.Duration) {
	p.target, p.steps = target, 0
	if p.burst == nil {
		p.burst = newBurst(&p.filter, p.Out)
	}
}

// pass takes a frame that is passed over.
func (p *Player) pass(f frame) {
	p.anchor(f.at)
	if p.Raw {
		p.burst.raw(f.data)
		return
	}
	p.burst.add(f.data)
}

// land ends a seek: the screen is shown as it is at the target.
func (p *Player) land() error {
	if p.burst == nil {
		return nil
	}
	err := p.burst.finish()
	p.burst = nil
	if p.target != forever {
		p.anchor(p.target)
	}
	return err
}
