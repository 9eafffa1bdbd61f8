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
	queueMessages = 4096
	writeBytes    = 64 * 1024
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
			m := &member{conn: conn, queue: make(chan []byte, queueMessages)}
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
	conn  net.Conn
	queue chan []byte
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
		select {
		case m.queue <- message:
		default:
			// It does not read.
			m.conn.Close()
		}
	}
}

func (m *member) read(rooms *rooms) {
	defer close(m.queue)
	defer m.conn.Close()
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
			frame := append([]byte(nil), buffer[start:start+size]...)
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
				m.queue <- frame
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
	together := make([]byte, 0, writeBytes)
	for message := range m.queue {
		together = append(together[:0], message...)
	more:
		for len(together) < writeBytes {
			select {
			case next, open := <-m.queue:
				if !open {
					break more
				}
				together = append(together, next...)
			default:
				break more
			}
		}
		if _, err := m.conn.Write(together); err != nil {
			m.conn.Close()
			for range m.queue {
			}
			return
		}
	}
}
