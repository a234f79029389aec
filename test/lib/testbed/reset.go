package testbed

// Reset ends the session abruptly: TCP sends a reset. IPVS forgets such a
// connection after 10 s, one that was closed in order after two minutes.
func (s *Session) Reset() {
	if c, ok := s.conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	s.Close()
}
