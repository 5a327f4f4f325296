// One 8259A: eight inputs, a mask, and a priority order that says which of them the processor hears of next. Two of them make the
// interrupt controller of a PC (PicPair), which also holds the lock: this class is the data sheet (Intel 231468) and nothing else.

namespace Lguest.Pc.Chips;

/// <summary>One 8259A programmable interrupt controller.</summary>
/// <param name="cascaded">The input to which a slave's output leads, or -1 for a chip without one.</param>
internal sealed class Pic8259(int cascaded)
{
    private const byte SpuriousInput = 7;

    private byte latched;
    private byte lines;
    private byte levelTriggered;
    private byte inService;
    private byte mask;
    private byte vectorBase;
    private int lowestPriority = 7;
    private int expectedCommandWord;
    private bool needsFourthWord;
    private bool isSingle;
    private bool readsInService;
    private bool isPolled;
    private bool specialMask;
    private bool specialFullyNested;
    private bool automaticEnd;
    private bool rotatesAutomatically;

    /// <summary>The edge/level control register: a bit for each level-triggered input.</summary>
    public byte LevelTriggered
    {
        get => levelTriggered;
        set => levelTriggered = value;
    }

    /// <summary>The INT pin.</summary>
    public bool Output => HighestRequest() >= 0;

    /// <summary>What the IRR holds: edges that were seen, and level-triggered inputs that are high.</summary>
    private byte Requests => (byte)(latched | (lines & levelTriggered));

    /// <summary>Sets the level of an input.</summary>
    public void SetInput(int input, bool level)
    {
        var bit = (byte)(1 << input);
        if (level)
        {
            if ((lines & bit) == 0 && (levelTriggered & bit) == 0)
            {
                latched |= bit;
            }
            lines |= bit;
        }
        else
        {
            lines &= (byte)~bit;
        }
    }

    /// <summary>The acknowledge cycle.</summary>
    /// <returns>The input that is now in service, or 7 without any (a spurious interrupt).</returns>
    public int Acknowledge()
    {
        int input = HighestRequest();
        if (input < 0)
        {
            return SpuriousInput;
        }
        latched &= (byte)~(1 << input);
        if (!automaticEnd)
        {
            inService |= (byte)(1 << input);
        }
        else if (rotatesAutomatically)
        {
            lowestPriority = input;
        }
        return input;
    }

    /// <summary>The vector of an input.</summary>
    public byte Vector(int input) => (byte)(vectorBase | input);

    /// <summary>Reads the port with A0 = 0 or 1.</summary>
    public byte Read(bool a0)
    {
        if (isPolled)
        {
            isPolled = false;
            return Output ? (byte)(0x80 | Acknowledge()) : (byte)0;
        }
        return a0 ? mask : readsInService ? inService : Requests;
    }

    /// <summary>Writes the port with A0 = 0 or 1: initialisation and operation command words.</summary>
    public void Write(bool a0, byte value)
    {
        if (a0)
        {
            WriteData(value);
        }
        else if ((value & 0x10) != 0)
        {
            BeginInitialization(value);
        }
        else if ((value & 0x08) != 0)
        {
            WriteThirdOperationWord(value);
        }
        else
        {
            EndOrRotate(value);
        }
    }

    private void BeginInitialization(byte value)
    {
        latched = 0;
        mask = 0;
        inService = 0;
        lowestPriority = 7;
        specialMask = false;
        readsInService = false;
        isPolled = false;
        specialFullyNested = false;
        automaticEnd = false;
        rotatesAutomatically = false;
        needsFourthWord = (value & 0x01) != 0;
        isSingle = (value & 0x02) != 0;
        expectedCommandWord = 2;
    }

    private void WriteData(byte value)
    {
        switch (expectedCommandWord)
        {
            case 2:
                vectorBase = (byte)(value & 0xF8);
                expectedCommandWord = !isSingle ? 3 : needsFourthWord ? 4 : 0;
                break;
            case 3:
                // Which input has a slave is soldered on the board.
                expectedCommandWord = needsFourthWord ? 4 : 0;
                break;
            case 4:
                automaticEnd = (value & 0x02) != 0;
                specialFullyNested = (value & 0x10) != 0;
                expectedCommandWord = 0;
                break;
            default:
                mask = value;
                break;
        }
    }

    private void WriteThirdOperationWord(byte value)
    {
        isPolled = (value & 0x04) != 0;
        if ((value & 0x02) != 0)
        {
            readsInService = (value & 0x01) != 0;
        }
        if ((value & 0x40) != 0)
        {
            specialMask = (value & 0x20) != 0;
        }
    }

    /// <summary>OCW2: ends of interrupts and changes of the priority order.</summary>
    private void EndOrRotate(byte value)
    {
        bool rotate = (value & 0x80) != 0, specific = (value & 0x40) != 0, end = (value & 0x20) != 0;
        int level = value & 0x07;
        if (!end)
        {
            if (specific && rotate)
            {
                lowestPriority = level;
            }
            else if (!specific)
            {
                rotatesAutomatically = rotate;
            }
            return;
        }
        int input = specific ? level : HighestOf(specialMask ? (byte)(inService & ~mask) : inService);
        if (input >= 0)
        {
            inService &= (byte)~(1 << input);
            if (rotate)
            {
                lowestPriority = input;
            }
        }
    }

    /// <summary>The input whose request goes to the processor, or -1.</summary>
    private int HighestRequest()
    {
        int request = HighestOf((byte)(Requests & ~mask));
        if (request < 0)
        {
            return -1;
        }
        // What is in service holds back its own and all lower priorities.
        byte holding = specialMask ? (byte)(inService & ~mask) : inService;
        if (specialFullyNested && cascaded >= 0)
        {
            holding &= (byte)~(1 << cascaded);
        }
        int served = HighestOf(holding);
        return served < 0 || Rank(request) < Rank(served) ? request : -1;
    }

    private int HighestOf(byte set)
    {
        for (int rank = 0; rank < 8; rank++)
        {
            int input = (lowestPriority + 1 + rank) & 7;
            if ((set & (1 << input)) != 0)
            {
                return input;
            }
        }
        return -1;
    }

    private int Rank(int input) => (input - lowestPriority - 1) & 7;
}
