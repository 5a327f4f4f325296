// Whoever gives a block up must find everything that leads to it, and must take it out of every list at once, wherever in the list it
// stands. So the lists of blocks, of links between them and of jumps in translated code are doubly linked, and their nodes lie in their
// members: a list costs no memory of its own, and what is bounded for the members is bounded for the lists.

namespace Lguest.X86.Execution;

/// <summary>Membership in one list; all zero for none.</summary>
internal unsafe struct ListNode
{
    /// <summary>The next member's node; null at the end.</summary>
    public ListNode* Next;

    /// <summary>Where the pointer to this node is: in the node before it, or at the head of the list; null when it is in no list.</summary>
    public ListNode** Place;

    /// <summary>Enters a node that is in no list at the beginning of one.</summary>
    public static void Insert(ListNode* node, ListNode** head)
    {
        // SAFETY: members and heads stay where they are as long as they are linked; whoever gives their memory up removes them before.
        unsafe
        {
            node->Next = *head;
            node->Place = head;
            if (*head != null)
            {
                (*head)->Place = &node->Next;
            }
            *head = node;
        }
    }

    /// <summary>Takes a node out of its list, if it is in one.</summary>
    public static void Remove(ListNode* node)
    {
        // SAFETY: as in Insert.
        unsafe
        {
            if (node->Place == null)
            {
                return;
            }
            *node->Place = node->Next;
            if (node->Next != null)
            {
                node->Next->Place = node->Place;
            }
            *node = default;
        }
    }
}
