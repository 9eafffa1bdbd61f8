// echo and relay in Go: a goroutine for each connection, and for the relay one more that writes.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
)

const (
	join          = 1
	joined        = 2
	msg           = 10
	readBytes     = 16 * 1024
	frameBytesMax = 16 * 1024
	// Four times what the others allow: the scheduler lets some writers wait for long.
	outboxBytesMax = 1024 * 1024
)

func main() {
	app := flag.String("app", "echo", "echo or relay")
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	workers := flag.Int("workers", 1, "processors to use")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	rooms := &rooms{members: map[uint32]map[*member]struct{}{}}
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		if *app == "relay" {
			m := &member{conn: conn, wake: make(chan struct{}, 1)}
			go m.write()
			go m.read(rooms)
		} else {
			go echo(conn)
		}
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, readBytes)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

type rooms struct {
	mutex   sync.RWMutex
	members map[uint32]map[*member]struct{}
}

type member struct {
	conn    net.Conn
	mutex   sync.Mutex
	waiting []byte
	closed  bool
	wake    chan struct{}
}

func (m *member) deliver(message []byte) {
	m.mutex.Lock()
	if !m.closed && len(m.waiting)+len(message) > outboxBytesMax {
		// It does not read.
		m.closed = true
		m.conn.Close()
	}
	if !m.closed {
		m.waiting = append(m.waiting, message...)
	}
	m.mutex.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *member) close() {
	m.mutex.Lock()
	m.closed = true
	m.mutex.Unlock()
	m.conn.Close()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (r *rooms) enter(room uint32, m *member) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.members[room] == nil {
		r.members[room] = map[*member]struct{}{}
	}
	r.members[room][m] = struct{}{}
}

func (r *rooms) leave(room uint32, m *member) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.members[room], m)
}

func (r *rooms) say(room uint32, message []byte) {
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	for m := range r.members[room] {
		m.deliver(message)
	}
}

func (m *member) read(rooms *rooms) {
	defer m.close()
	buffer := make([]byte, readBytes+frameBytesMax)
	filled, in, room := 0, false, uint32(0)
	defer func() {
		if in {
			rooms.leave(room, m)
		}
	}()
	for {
		n, err := m.conn.Read(buffer[filled:])
		if err != nil {
			return
		}
		filled += n
		start := 0
		for filled-start >= 4 {
			size := int(binary.LittleEndian.Uint16(buffer[start:]))
			if size < 4 || size > frameBytesMax {
				return
			}
			if filled-start < size {
				break
			}
			frame := buffer[start : start+size]
			start += size
			switch id := binary.LittleEndian.Uint16(frame[2:]); {
			case id == msg && in:
				rooms.say(room, frame)
			case id == join && size == 8:
				if in {
					rooms.leave(room, m)
				}
				room, in = binary.LittleEndian.Uint32(frame[4:]), true
				binary.LittleEndian.PutUint16(frame[2:], joined)
				rooms.enter(room, m)
				m.deliver(frame)
			default:
				return
			}
		}
		copy(buffer, buffer[start:filled])
		filled -= start
	}
}

// Everything that waits goes out in one write.
func (m *member) write() {
	var together []byte
	for range m.wake {
		m.mutex.Lock()
		together, m.waiting = m.waiting, together[:0]
		closed := m.closed
		m.mutex.Unlock()
		if closed {
			return
		}
		if _, err := m.conn.Write(together); err != nil {
			m.close()
			return
		}
	}
}
