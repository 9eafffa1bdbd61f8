// Written by `naksi gen` from kinds.proto; not to be edited.
//
// Send:    stream.Write(bytes = Packets.Frame(new Say { … }), 0, bytes.Length);
// Receive: reader.Push(buffer, 0, count); while ((packet = reader.Next()) != null) { … }

using System;
using System.Collections.Generic;
using System.Text;

namespace Kinds
{
    /// <summary>What somebody does.</summary>
    public enum Mood
    {
        Calm = 0,
        Merry = 1,
        /// <summary>Not to be spoken to.</summary>
        Grim = -3,
    }

    /// <summary>A place in the world.</summary>
    public sealed class Place : IMessage
    {
        public int X { get; set; }
        public int Y { get; set; }

        void IMessage.WriteTo(WireWriter output)
        {
            if (X != 0) output.Key(8).Sint32(X);
            if (Y != 0) output.Key(16).Sint32(Y);
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    case 8: // 1
                        X = input.Sint32();
                        break;
                    case 16: // 2
                        Y = input.Sint32();
                        break;
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>Somebody says something.</summary>
    public sealed class Say : IPacket
    {
        /// <summary>What is said.</summary>
        public string Text { get; set; } = "";
        /// <summary>To whom; to everybody without it.</summary>
        public uint? To { get; set; }

        ushort IPacket.Id { get { return 1; } }

        void IMessage.WriteTo(WireWriter output)
        {
            if (Text != null && Text.Length > 0) output.Key(10).String(Text);
            if (To != null) output.Key(16).Uint32(To.Value);
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    case 10: // 1
                        Text = input.String();
                        break;
                    case 16: // 2
                        To = input.Uint32();
                        break;
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>Every number that there is.</summary>
    public sealed class Numbers : IPacket
    {
        public double DoubleOne { get; set; }
        public float FloatOne { get; set; }
        public int Int32One { get; set; }
        public long Int64One { get; set; }
        public uint Uint32One { get; set; }
        public ulong Uint64One { get; set; }
        public int Sint32One { get; set; }
        public long Sint64One { get; set; }
        public uint Fixed32One { get; set; }
        public ulong Fixed64One { get; set; }
        public int Sfixed32One { get; set; }
        public long Sfixed64One { get; set; }
        public bool BoolOne { get; set; }

        ushort IPacket.Id { get { return 10; } }

        void IMessage.WriteTo(WireWriter output)
        {
            if (BitConverter.DoubleToInt64Bits(DoubleOne) != 0) output.Key(9).Double(DoubleOne);
            if (BitConverter.DoubleToInt64Bits((double)FloatOne) != 0) output.Key(21).Float(FloatOne);
            if (Int32One != 0) output.Key(24).Int32(Int32One);
            if (Int64One != 0) output.Key(32).Int64(Int64One);
            if (Uint32One != 0) output.Key(40).Uint32(Uint32One);
            if (Uint64One != 0) output.Key(48).Uint64(Uint64One);
            if (Sint32One != 0) output.Key(56).Sint32(Sint32One);
            if (Sint64One != 0) output.Key(64).Sint64(Sint64One);
            if (Fixed32One != 0) output.Key(77).Fixed32(Fixed32One);
            if (Fixed64One != 0) output.Key(81).Fixed64(Fixed64One);
            if (Sfixed32One != 0) output.Key(93).Sfixed32(Sfixed32One);
            if (Sfixed64One != 0) output.Key(97).Sfixed64(Sfixed64One);
            if (BoolOne) output.Key(104).Bool(BoolOne);
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    case 9: // 1
                        DoubleOne = input.Double();
                        break;
                    case 21: // 2
                        FloatOne = input.Float();
                        break;
                    case 24: // 3
                        Int32One = input.Int32();
                        break;
                    case 32: // 4
                        Int64One = input.Int64();
                        break;
                    case 40: // 5
                        Uint32One = input.Uint32();
                        break;
                    case 48: // 6
                        Uint64One = input.Uint64();
                        break;
                    case 56: // 7
                        Sint32One = input.Sint32();
                        break;
                    case 64: // 8
                        Sint64One = input.Sint64();
                        break;
                    case 77: // 9
                        Fixed32One = input.Fixed32();
                        break;
                    case 81: // 10
                        Fixed64One = input.Fixed64();
                        break;
                    case 93: // 11
                        Sfixed32One = input.Sfixed32();
                        break;
                    case 97: // 12
                        Sfixed64One = input.Sfixed64();
                        break;
                    case 104: // 13
                        BoolOne = input.Bool();
                        break;
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>What holds more than one, or another message, or nothing at all.</summary>
    public sealed class Holds : IPacket
    {
        public byte[] Blob { get; set; } = new byte[0];
        public Mood Mood { get; set; }
        public Place Place { get; set; }
        public List<Place> Path { get; } = new List<Place>();
        public List<string> Names { get; } = new List<string>();
        public List<long> Deltas { get; } = new List<long>();
        public List<double> Weights { get; } = new List<double>();
        public List<Mood> Moods { get; } = new List<Mood>();
        public List<uint> Loose { get; } = new List<uint>();
        public string Note { get; set; }
        public bool? Sure { get; set; }
        public Mood? Wish { get; set; }

        ushort IPacket.Id { get { return 11; } }

        void IMessage.WriteTo(WireWriter output)
        {
            if (Blob != null && Blob.Length > 0) output.Key(10).Bytes(Blob);
            if ((int)Mood != 0) output.Key(16).Int32((int)Mood);
            if (Place != null) output.Key(26).Sub(Place);
            foreach (var one in Path) output.Key(34).Sub(one);
            foreach (var one in Names) output.Key(42).String(one);
            if (Deltas.Count > 0)
            {
                var together = new WireWriter();
                foreach (var one in Deltas) together.Sint64(one);
                output.Key(50).Bytes(together.Finish());
            }
            if (Weights.Count > 0)
            {
                var together = new WireWriter();
                foreach (var one in Weights) together.Double(one);
                output.Key(58).Bytes(together.Finish());
            }
            if (Moods.Count > 0)
            {
                var together = new WireWriter();
                foreach (var one in Moods) together.Int32((int)one);
                output.Key(66).Bytes(together.Finish());
            }
            foreach (var one in Loose) output.Key(72).Uint32(one);
            if (Note != null) output.Key(82).String(Note);
            if (Sure != null) output.Key(88).Bool(Sure.Value);
            if (Wish != null) output.Key(16000).Int32((int)Wish.Value);
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    case 10: // 1
                        Blob = input.Bytes();
                        break;
                    case 16: // 2
                        Mood = (Mood)input.Int32();
                        break;
                    case 26: // 3
                        Place = input.Sub(Place ?? new Place());
                        break;
                    case 34: // 4
                        Path.Add(input.Sub(new Place()));
                        break;
                    case 42: // 5
                        Names.Add(input.String());
                        break;
                    case 48: // 6
                        Deltas.Add(input.Sint64());
                        break;
                    case 50: // 6, together
                        for (int end = input.End(); input.IsBefore(end);) Deltas.Add(input.Sint64());
                        break;
                    case 57: // 7
                        Weights.Add(input.Double());
                        break;
                    case 58: // 7, together
                        for (int end = input.End(); input.IsBefore(end);) Weights.Add(input.Double());
                        break;
                    case 64: // 8
                        Moods.Add((Mood)input.Int32());
                        break;
                    case 66: // 8, together
                        for (int end = input.End(); input.IsBefore(end);) Moods.Add((Mood)input.Int32());
                        break;
                    case 72: // 9
                        Loose.Add(input.Uint32());
                        break;
                    case 74: // 9, together
                        for (int end = input.End(); input.IsBefore(end);) Loose.Add(input.Uint32());
                        break;
                    case 82: // 10
                        Note = input.String();
                        break;
                    case 88: // 11
                        Sure = input.Bool();
                        break;
                    case 16000: // 2000
                        Wish = (Mood)input.Int32();
                        break;
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>Nothing but itself.</summary>
    public sealed class Ping : IPacket
    {

        ushort IPacket.Id { get { return 300; } }

        void IMessage.WriteTo(WireWriter output)
        {
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>One of several things to do.</summary>
    public sealed class Order : IPacket
    {
        public Place Go { get; set; }
        public string Shout { get; set; }
        public uint? Wait { get; set; }

        ushort IPacket.Id { get { return 301; } }

        void IMessage.WriteTo(WireWriter output)
        {
            if (Go != null) output.Key(10).Sub(Go);
            if (Shout != null) output.Key(18).String(Shout);
            if (Wait != null) output.Key(24).Uint32(Wait.Value);
        }

        void IMessage.MergeFrom(WireReader input)
        {
            for (uint key = input.Key(); key != 0; key = input.Key())
            {
                switch (key)
                {
                    case 10: // 1
                        Go = input.Sub(Go ?? new Place());
                        Shout = null;
                        Wait = null;
                        break;
                    case 18: // 2
                        Shout = input.String();
                        Go = null;
                        Wait = null;
                        break;
                    case 24: // 3
                        Wait = input.Uint32();
                        Go = null;
                        Shout = null;
                        break;
                    default:
                        input.Skip(key, 0);
                        break;
                }
            }
        }
    }

    /// <summary>The ids of the packets.</summary>
    public static class PacketId
    {
        public const ushort Say = 1;
        public const ushort Numbers = 10;
        public const ushort Holds = 11;
        public const ushort Ping = 300;
        public const ushort Order = 301;
    }

    /// <summary>The table of packets.</summary>
    public static partial class Packets
    {
        /// <summary>The version of the table `KINDS`: peers with one number understand each other.</summary>
        public const ulong Version = 0x8accc3692b0d2d72UL;

        private static readonly KeyValuePair<ushort, string>[] Known =
        {
            new KeyValuePair<ushort, string>(1, "Say"),
            new KeyValuePair<ushort, string>(10, "Numbers"),
            new KeyValuePair<ushort, string>(11, "Holds"),
            new KeyValuePair<ushort, string>(300, "Ping"),
            new KeyValuePair<ushort, string>(301, "Order"),
        };

        private static IPacket Make(ushort id)
        {
            switch (id)
            {
                case 1: return new Say();
                case 10: return new Numbers();
                case 11: return new Holds();
                case 300: return new Ping();
                case 301: return new Order();
                default: return null;
            }
        }
    }

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
        /// <exception cref="ArgumentException">It fits no frame: its body has more than 65,531 bytes.</exception>
        public static byte[] Frame(IPacket packet)
        {
            var body = Encode(packet);
            int bytes = FrameReader.HeaderBytes + body.Length;
            if (bytes > FrameReader.FrameBytesMax)
                throw new ArgumentException("a body of " + body.Length + " bytes fits no frame");
            var frame = new byte[bytes];
            frame[0] = (byte)bytes;
            frame[1] = (byte)(bytes >> 8);
            frame[2] = (byte)packet.Id;
            frame[3] = (byte)(packet.Id >> 8);
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

        /// <summary>The name of a packet; null if nobody knows the id.</summary>
        public static string NameOf(ushort id)
        {
            foreach (var known in Known) if (known.Key == id) return known.Value;
            return null;
        }

        private static string Nearest(ushort id)
        {
            var near = new List<KeyValuePair<ushort, string>>(Known);
            near.Sort((a, b) =>
            {
                int nearer = Math.Abs(a.Key - id).CompareTo(Math.Abs(b.Key - id));
                return nearer != 0 ? nearer : a.Key.CompareTo(b.Key);
            });
            var names = new List<string>();
            foreach (var known in near) if (names.Count < 3) names.Add(known.Key + " " + known.Value);
            return string.Join(", ", names.ToArray());
        }
    }

    /// <summary>Anything that is wrong with what a peer sent.</summary>
    public class NaksiException : Exception
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
                Buffer.BlockCopy(kept, start, target, 0, end - start);
                kept = target;
                end -= start;
                start = 0;
            }
            Buffer.BlockCopy(buffer, offset, kept, end, count);
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
            id = (ushort)(kept[start + 2] | kept[start + 3] << 8);
            body = new byte[bytes - HeaderBytes];
            Buffer.BlockCopy(kept, start + HeaderBytes, body, 0, body.Length);
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
            Array.Copy(bytes, whole, length);
            return whole;
        }

        public WireWriter Key(uint key) { return Uint64(key); }
        public WireWriter Int32(int value) { return Uint64((ulong)(long)value); }
        public WireWriter Int64(long value) { return Uint64((ulong)value); }
        public WireWriter Uint32(uint value) { return Uint64(value); }
        public WireWriter Sint32(int value) { return Uint64((uint)(value << 1 ^ value >> 31)); }
        public WireWriter Sint64(long value) { return Uint64((ulong)(value << 1 ^ value >> 63)); }
        public WireWriter Bool(bool value) { return Uint64(value ? 1UL : 0UL); }
        public WireWriter Fixed32(uint value) { return Little(value, 4); }
        public WireWriter Sfixed32(int value) { return Little((uint)value, 4); }
        public WireWriter Fixed64(ulong value) { return Little(value, 8); }
        public WireWriter Sfixed64(long value) { return Little((ulong)value, 8); }
        public WireWriter Double(double value) { return Little((ulong)BitConverter.DoubleToInt64Bits(value), 8); }
        public WireWriter Float(float value) { return Little(BitConverter.ToUInt32(BitConverter.GetBytes(value), 0), 4); }
        public WireWriter String(string value) { return Bytes(Encoding.UTF8.GetBytes(value)); }
        public WireWriter Sub(IMessage value) { return Bytes(Packets.Encode(value)); }

        public WireWriter Uint64(ulong value)
        {
            for (; value > 127; value >>= 7) Put((byte)(value | 128));
            return Put((byte)value);
        }

        public WireWriter Bytes(byte[] value)
        {
            Uint64((ulong)value.Length);
            Room(value.Length);
            Array.Copy(value, 0, bytes, length, value.Length);
            length += value.Length;
            return this;
        }

        private WireWriter Little(ulong value, int count)
        {
            for (int place = 0; place < count; place++) Put((byte)(value >> 8 * place));
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
            if (length + more > bytes.Length) Array.Resize(ref bytes, Math.Max(length + more, 2 * bytes.Length));
        }
    }

    /// <summary>Reads what Protobuf writes; throws MalformedException for what it does not.</summary>
    public sealed class WireReader
    {
        /// <summary>Messages in messages, at most: a peer cannot take the stack.</summary>
        private const int DepthMax = 100;
        private static readonly Encoding Strict = new UTF8Encoding(false, true);

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

        /// <summary>Passes over a field that nobody knows.</summary>
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

        public int Int32() { return (int)(uint)Uint64(); }
        public long Int64() { return (long)Uint64(); }
        public uint Uint32() { return (uint)Uint64(); }
        public int Sint32() { uint value = (uint)Uint64(); return (int)(value >> 1) ^ -(int)(value & 1); }
        public long Sint64() { ulong value = Uint64(); return (long)(value >> 1) ^ -(long)(value & 1); }
        public bool Bool() { return Uint64() != 0; }
        public uint Fixed32() { return (uint)Little(4); }
        public int Sfixed32() { return (int)(uint)Little(4); }
        public ulong Fixed64() { return Little(8); }
        public long Sfixed64() { return (long)Little(8); }
        public double Double() { return BitConverter.Int64BitsToDouble((long)Little(8)); }
        public float Float() { return BitConverter.ToSingle(BitConverter.GetBytes((uint)Little(4)), 0); }

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
            catch (ArgumentException)
            {
                throw new MalformedException("a text that is no UTF-8");
            }
        }

        public byte[] Bytes()
        {
            var value = new byte[Size()];
            Array.Copy(bytes, Take(value.Length), value, 0, value.Length);
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
}
