// Talks with the server of the test: whatever it is told comes back, and is the same; what is wrong has its name.
using System;
using System.Collections.Generic;
using System.Net.Sockets;
using Kinds;

static class Client
{
    static NetworkStream stream;
    static readonly PacketReader reader = new PacketReader();

    static void Send(IPacket packet)
    {
        var bytes = Packets.Frame(packet);
        stream.Write(bytes, 0, bytes.Length);
    }

    static IPacket Receive()
    {
        var one = new byte[1];
        for (;;)
        {
            var packet = reader.Next();
            if (packet != null) return packet;
            // However bytes come: one by one.
            Check(stream.Read(one, 0, 1) == 1, "the server has closed");
            reader.Push(one, 0, 1);
        }
    }

    static Exception Failure()
    {
        try { Receive(); } catch (NaksiException error) { return error; }
        throw new Exception("it was read");
    }

    static void Check(bool holds, string what)
    {
        if (!holds) throw new Exception(what);
    }

    static Tree Trees(int depth)
    {
        var tree = new Tree { Growth = TreeGrowth.Wild };
        tree.Fruits.Add(new TreeFruit { Name = "apple", Growth = TreeGrowth.Wild });
        for (; depth > 0; depth--) tree = new Tree { Trunk = tree };
        return tree;
    }

    static int Main(string[] arguments)
    {
        var address = arguments[0].Split(':');
        stream = new TcpClient(address[0], int.Parse(address[1])).GetStream();
        var holds = new Holds { Blob = new byte[] { 0, 1, 255 }, Mood = Mood.Grim, Place = new Place { X = -7, Y = 1 << 30 } };
        var many = new Holds { Wish = Mood.Calm, Note = "", Sure = false };
        many.Path.Add(new Place { X = 1, Y = -1 });
        many.Path.Add(new Place());
        many.Names.AddRange(new[] { "", "낚시" });
        many.Deltas.AddRange(new[] { 0L, -1L, long.MaxValue, long.MinValue });
        many.Weights.AddRange(new[] { 0.0, 0.1 });
        many.Moods.AddRange(new[] { Mood.Merry, (Mood)99 });
        many.Loose.AddRange(new[] { 0u, 128u, 16384u });
        var told = new List<IPacket>
        {
            new Say(),
            new Say { Text = "안녕하세요, 낚시! 🎣", To = 0 },
            new Say { Text = new string('x', 5000), To = uint.MaxValue },
            new Numbers { DoubleOne = Math.PI, FloatOne = -0.5f, Int32One = -1, Int64One = -1, Uint32One = uint.MaxValue },
            new Numbers { Uint64One = ulong.MaxValue, Sint32One = int.MinValue, Sint64One = long.MinValue, BoolOne = true },
            new Numbers { Int32One = int.MaxValue, Int64One = long.MaxValue, Fixed32One = uint.MaxValue },
            new Numbers { Fixed64One = ulong.MaxValue, Sfixed32One = int.MinValue, Sfixed64One = -long.MaxValue },
            holds, many, new Ping(),
            new Order { Go = new Place { X = 1, Y = 2 } }, new Order { Shout = "" }, new Order { Wait = 0 },
            new Kinds.Buffer { Bytes = new byte[] { 7 } }, new C2sLogin { Name = "낚시", Buffer = new Kinds.Buffer() }, Trees(50),
        };
        foreach (var packet in told)
        {
            Send(packet);
            var same = Convert.ToBase64String(Packets.Frame(Receive())) == Convert.ToBase64String(Packets.Frame(packet));
            Check(same, "it comes back as it was: " + packet);
        }
        Send(holds);
        var back = (Holds)Receive();
        Check(back.Place.X == -7 && back.Mood == Mood.Grim && back.Note == null && back.Sure == null, "the fields");
        Send(new Say { Text = "the version, please" });
        Check(((Say)Receive()).Text == Packets.Version.ToString(), "the version");
        // What the server makes by chance is the same when it has been read and written here.
        Send(new Say { Text = "things by chance, please" });
        for (int count = 0; count < 400; count++) Send(Receive());
        foreach (var packet in told)
        {
            var body = Packets.Encode(packet);
            for (int cut = 0; cut < Math.Min(body.Length, 200); cut++)
            {
                var part = new byte[cut];
                Array.Copy(body, part, cut);
                // Anything but this is a failure.
                try { Packets.Decode(packet.Id, part); } catch (MalformedPacketException) { }
            }
        }
        Check(Packets.Decode(302, Packets.Encode(Trees(99))) is Tree, "a hundred in one another");
        try
        {
            Packets.Decode(302, Packets.Encode(Trees(1000)));
            throw new Exception("nothing ends it");
        }
        catch (MalformedPacketException) { }
        Send(new Say { Text = "a stranger, please" });
        var unknown = (UnknownPacketException)Failure();
        Check(unknown.Message == "unknown packet id 13 (6 bytes); the nearest known are 11 Holds, 10 Numbers, 1 Say", unknown.Message);
        Send(new Say { Text = "something broken, please" });
        var malformed = (MalformedPacketException)Failure();
        Check(malformed.Message == "4 bytes are no Say (packet id 1): the end is missing", malformed.Message);
        Send(new Ping());
        Check(Receive() is Ping, "behind what is broken it goes on");
        Send(new Say { Text = "a frame that is none, please" });
        Check(Failure() is FrameTooShortException, "a frame that is none");
        Console.WriteLine("talked " + told.Count);
        return 0;
    }
}
