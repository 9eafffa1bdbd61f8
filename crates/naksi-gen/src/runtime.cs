    // What follows is the same for every table.

    /// <summary>What can be written and read.</summary>
    public interface IMessage
    {
        void WriteTo(WireWriter output);
        void MergeFrom(WireReader input);
    }

    /// <summary>A message with an id.</summary>
    public interface IPacket : IMessage
    {
        ushort Id { get; }
    }

    public static partial class Packets
    {
        /// <summary>The whole packet, ready to be sent.</summary>
        /// <exception cref="global::System.ArgumentException">It fits no frame: its body has more than 65,531 bytes.</exception>
        public static byte[] Frame(IPacket packet)
        {
            var body = Encode(packet);
            int bytes = FrameReader.HeaderBytes + body.Length;
            if (bytes > FrameReader.FrameBytesMax)
                throw new global::System.ArgumentException("a body of " + body.Length + " bytes fits no frame");
            var frame = new byte[bytes];
            frame[0] = unchecked((byte)bytes);
            frame[1] = unchecked((byte)(bytes >> 8));
            frame[2] = unchecked((byte)packet.Id);
            frame[3] = unchecked((byte)(packet.Id >> 8));
            body.CopyTo(frame, FrameReader.HeaderBytes);
            return frame;
        }

        /// <summary>A message's bytes, without a header.</summary>
        public static byte[] Encode(IMessage message)
        {
            var output = new WireWriter();
            message.WriteTo(output);
            return output.Finish();
        }

        /// <summary>Reads a packet's body.</summary>
        /// <exception cref="UnknownPacketException">The id is in no line of the table.</exception>
        /// <exception cref="MalformedPacketException">The body is not what the id says.</exception>
        public static IPacket Decode(ushort id, byte[] body)
        {
            var packet = Make(id);
            if (packet == null) throw new UnknownPacketException(id, FrameReader.HeaderBytes + body.Length, Nearest(id));
            try
            {
                packet.MergeFrom(new WireReader(body, 0, body.Length, 0));
            }
            catch (MalformedException error)
            {
                throw new MalformedPacketException(id, NameOf(id), body.Length, error.Message);
            }
            return packet;
        }

        /// <summary>The name of a packet; null for an unknown id.</summary>
        public static string NameOf(ushort id)
        {
            foreach (var known in Known) if (known.Key == id) return known.Value;
            return null;
        }

        private static string Nearest(ushort id)
        {
            var near = new global::System.Collections.Generic.List<global::System.Collections.Generic.KeyValuePair<ushort, string>>(Known);
            near.Sort((a, b) =>
            {
                int nearer = global::System.Math.Abs(a.Key - id).CompareTo(global::System.Math.Abs(b.Key - id));
                return nearer != 0 ? nearer : a.Key.CompareTo(b.Key);
            });
            var names = new global::System.Collections.Generic.List<string>();
            foreach (var known in near) if (names.Count < 3) names.Add(known.Key + " " + known.Value);
            return string.Join(", ", names.ToArray());
        }
    }

    /// <summary>Anything that is wrong with what a peer sent.</summary>
    public class NaksiException : global::System.Exception
    {
        public NaksiException(string message) : base(message) { }
    }

    /// <summary>A frame says that it is shorter than its own header: the stream cannot be read any further.</summary>
    public sealed class FrameTooShortException : NaksiException
    {
        public FrameTooShortException(int bytes) : base("a frame of " + bytes + " bytes is shorter than its header") { }
    }

    /// <summary>A frame is longer than it may be: the stream cannot be read any further.</summary>
    public sealed class FrameTooLongException : NaksiException
    {
        public FrameTooLongException(int bytes, int bytesMax)
            : base("a frame of " + bytes + " bytes is longer than " + bytesMax) { }
    }

    /// <summary>A packet came whose id is in no line of the table.</summary>
    public sealed class UnknownPacketException : NaksiException
    {
        public readonly ushort Id;
        /// <summary>Bytes of its frame, the header included.</summary>
        public readonly int Bytes;

        public UnknownPacketException(ushort id, int bytes, string nearest)
            : base("unknown packet id " + id + " (" + bytes + " bytes); the nearest known are " + nearest)
        {
            Id = id;
            Bytes = bytes;
        }
    }

    /// <summary>Bytes are no message.</summary>
    public class MalformedException : NaksiException
    {
        public MalformedException(string why) : base(why) { }
    }

    /// <summary>A packet's body is not what its id says.</summary>
    public sealed class MalformedPacketException : MalformedException
    {
        public readonly ushort Id;
        /// <summary>What it should have been.</summary>
        public readonly string Packet;
        /// <summary>Bytes of the body.</summary>
        public readonly int Bytes;

        public MalformedPacketException(ushort id, string packet, int bytes, string why)
            : base(bytes + " bytes are no " + packet + " (packet id " + id + "): " + why)
        {
            Id = id;
            Packet = packet;
            Bytes = bytes;
        }
    }

    /// <summary>Cuts frames out of a stream of bytes: `[u16 LE size, header included][u16 LE id][body]`.</summary>
    public sealed class FrameReader
    {
        public const int HeaderBytes = 4;
        public const int FrameBytesMax = 65535;

        private readonly int bytesMax;
        private byte[] kept = new byte[4096];
        private int start, end;

        /// <summary>Frames of more than these bytes are refused.</summary>
        public FrameReader(int bytesMax = FrameBytesMax)
        {
            this.bytesMax = bytesMax;
        }

        /// <summary>Takes what came.</summary>
        public void Push(byte[] buffer, int offset, int count)
        {
            if (end + count > kept.Length)
            {
                var target = end - start + count > kept.Length ? new byte[2 * (end - start + count)] : kept;
                global::System.Buffer.BlockCopy(kept, start, target, 0, end - start);
                kept = target;
                end -= start;
                start = 0;
            }
            global::System.Buffer.BlockCopy(buffer, offset, kept, end, count);
            end += count;
        }

        /// <summary>The next whole frame, if there is one.</summary>
        /// <exception cref="FrameTooShortException">Each time from then on.</exception>
        /// <exception cref="FrameTooLongException">Each time from then on.</exception>
        public bool Next(out ushort id, out byte[] body)
        {
            id = 0;
            body = null;
            if (end - start < 2) return false;
            int bytes = kept[start] | kept[start + 1] << 8;
            if (bytes < HeaderBytes) throw new FrameTooShortException(bytes);
            if (bytes > bytesMax) throw new FrameTooLongException(bytes, bytesMax);
            if (end - start < bytes) return false;
            id = unchecked((ushort)(kept[start + 2] | kept[start + 3] << 8));
            body = new byte[bytes - HeaderBytes];
            global::System.Buffer.BlockCopy(kept, start + HeaderBytes, body, 0, body.Length);
            start += bytes;
            return true;
        }
    }

    /// <summary>Cuts packets out of a stream of bytes.</summary>
    public sealed class PacketReader
    {
        private readonly FrameReader frames;

        /// <summary>Frames of more than these bytes are refused.</summary>
        public PacketReader(int bytesMax = FrameReader.FrameBytesMax)
        {
            frames = new FrameReader(bytesMax);
        }

        /// <summary>Takes what came.</summary>
        public void Push(byte[] buffer, int offset, int count)
        {
            frames.Push(buffer, offset, count);
        }

        /// <summary>
        /// The next packet; null if there is no whole one. Throws as FrameReader and Packets.Decode do; after an unknown or
        /// malformed packet the next call goes on behind it.
        /// </summary>
        public IPacket Next()
        {
            ushort id;
            byte[] body;
            return frames.Next(out id, out body) ? Packets.Decode(id, body) : null;
        }
    }

    /// <summary>Writes a message as Protobuf does.</summary>
    public sealed class WireWriter
    {
        private byte[] bytes = new byte[64];
        private int length;

        public byte[] Finish()
        {
            var whole = new byte[length];
            global::System.Array.Copy(bytes, whole, length);
            return whole;
        }

        public WireWriter Key(uint key) { return Uint64(key); }
        public WireWriter Int32(int value) { return Uint64(unchecked((ulong)(long)value)); }
        public WireWriter Int64(long value) { return Uint64(unchecked((ulong)value)); }
        public WireWriter Uint32(uint value) { return Uint64(value); }
        public WireWriter Sint32(int value) { return Uint64(unchecked((uint)(value << 1 ^ value >> 31))); }
        public WireWriter Sint64(long value) { return Uint64(unchecked((ulong)(value << 1 ^ value >> 63))); }
        public WireWriter Bool(bool value) { return Uint64(value ? 1UL : 0UL); }
        public WireWriter Fixed32(uint value) { return Little(value, 4); }
        public WireWriter Sfixed32(int value) { return Little(unchecked((uint)value), 4); }
        public WireWriter Fixed64(ulong value) { return Little(value, 8); }
        public WireWriter Sfixed64(long value) { return Little(unchecked((ulong)value), 8); }
        public WireWriter Double(double value) { return Little(unchecked((ulong)global::System.BitConverter.DoubleToInt64Bits(value)), 8); }
        public WireWriter Float(float value) { return Little(global::System.BitConverter.ToUInt32(global::System.BitConverter.GetBytes(value), 0), 4); }
        public WireWriter String(string value) { return Bytes(global::System.Text.Encoding.UTF8.GetBytes(value)); }
        public WireWriter Sub(IMessage value) { return Bytes(Packets.Encode(value)); }

        public WireWriter Uint64(ulong value)
        {
            for (; value > 127; value >>= 7) Put(unchecked((byte)(value | 128)));
            return Put(unchecked((byte)value));
        }

        public WireWriter Bytes(byte[] value)
        {
            Uint64((ulong)value.Length);
            Room(value.Length);
            global::System.Array.Copy(value, 0, bytes, length, value.Length);
            length += value.Length;
            return this;
        }

        private WireWriter Little(ulong value, int count)
        {
            for (int place = 0; place < count; place++) Put(unchecked((byte)(value >> 8 * place)));
            return this;
        }

        private WireWriter Put(byte value)
        {
            Room(1);
            bytes[length++] = value;
            return this;
        }

        private void Room(int more)
        {
            if (length + more > bytes.Length) global::System.Array.Resize(ref bytes, global::System.Math.Max(length + more, 2 * bytes.Length));
        }
    }

    /// <summary>Reads what Protobuf writes; throws MalformedException for what it does not.</summary>
    public sealed class WireReader
    {
        /// <summary>Messages in messages, at most: a peer cannot take the stack.</summary>
        private const int DepthMax = 100;
        private static readonly global::System.Text.Encoding Strict = new global::System.Text.UTF8Encoding(false, true);

        private readonly byte[] bytes;
        private readonly int end, depth;
        private int at;

        public WireReader(byte[] bytes, int start, int end, int depth)
        {
            if (depth > DepthMax) throw new MalformedException("messages in messages without end");
            this.bytes = bytes;
            this.end = end;
            this.depth = depth;
            at = start;
        }

        /// <summary>A field's number and how it is written; 0 at the end.</summary>
        public uint Key()
        {
            if (at == end) return 0;
            ulong key = Uint64();
            if (key < 8 || key > uint.MaxValue) throw new MalformedException("a field without a number");
            return (uint)key;
        }

        /// <summary>Skips an unknown field.</summary>
        public void Skip(uint key, int groups)
        {
            if (groups > DepthMax) throw new MalformedException("groups in groups without end");
            switch (key & 7)
            {
                case 0: Uint64(); break;
                case 1: Take(8); break;
                case 2: Take(Size()); break;
                case 3:
                    for (uint inner = Key(); inner != key + 1; inner = Key())
                    {
                        if (inner == 0) throw new MalformedException("a group without an end");
                        Skip(inner, groups + 1);
                    }
                    break;
                case 5: Take(4); break;
                default: throw new MalformedException("field " + (key >> 3) + " is written as nothing that there is");
            }
        }

        public int Int32() { return unchecked((int)(uint)Uint64()); }
        public long Int64() { return unchecked((long)Uint64()); }
        public uint Uint32() { return unchecked((uint)Uint64()); }
        public int Sint32() { uint value = Uint32(); return unchecked((int)(value >> 1) ^ -(int)(value & 1)); }
        public long Sint64() { ulong value = Uint64(); return unchecked((long)(value >> 1) ^ -(long)(value & 1)); }
        public bool Bool() { return Uint64() != 0; }
        public uint Fixed32() { return unchecked((uint)Little(4)); }
        public int Sfixed32() { return unchecked((int)(uint)Little(4)); }
        public ulong Fixed64() { return Little(8); }
        public long Sfixed64() { return unchecked((long)Little(8)); }
        public double Double() { return global::System.BitConverter.Int64BitsToDouble(unchecked((long)Little(8))); }
        public float Float() { return global::System.BitConverter.ToSingle(global::System.BitConverter.GetBytes(unchecked((uint)Little(4))), 0); }

        public ulong Uint64()
        {
            ulong value = 0;
            for (int place = 0; place < 10; place++)
            {
                byte next = bytes[Take(1)];
                value |= (ulong)(next & 127) << 7 * place;
                if (next < 128)
                {
                    if (place == 9 && next > 1) break;
                    return value;
                }
            }
            throw new MalformedException("a number of more than 64 bits");
        }

        public string String()
        {
            int count = Size();
            try
            {
                return Strict.GetString(bytes, Take(count), count);
            }
            catch (global::System.ArgumentException)
            {
                throw new MalformedException("a text that is no UTF-8");
            }
        }

        public byte[] Bytes()
        {
            var value = new byte[Size()];
            global::System.Array.Copy(bytes, Take(value.Length), value, 0, value.Length);
            return value;
        }

        /// <summary>A message with its length before it.</summary>
        public T Sub<T>(T into) where T : IMessage
        {
            int count = Size();
            int start = Take(count);
            into.MergeFrom(new WireReader(bytes, start, start + count, depth + 1));
            return into;
        }

        /// <summary>Where the values that follow together end.</summary>
        public int End()
        {
            int count = Size();
            return at + count;
        }

        /// <summary>Whether there is one more value before the end.</summary>
        public bool IsBefore(int until)
        {
            if (at > until) throw new MalformedException("a value that is cut");
            return at < until;
        }

        private int Size()
        {
            ulong size = Uint64();
            if (size > (ulong)(end - at)) throw new MalformedException("the end is missing");
            return (int)size;
        }

        private ulong Little(int count)
        {
            int start = Take(count);
            ulong value = 0;
            for (int place = 0; place < count; place++) value |= (ulong)bytes[start + place] << 8 * place;
            return value;
        }

        private int Take(int count)
        {
            if (count > end - at) throw new MalformedException("the end is missing");
            int start = at;
            at += count;
            return start;
        }
    }
