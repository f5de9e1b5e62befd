/*
 * refresh.pml: the protocol of the refresh tokens of jwt_auth, for spin
 *
 * README.md says what is modelled, what is assumed, and what each property is. "run"
 * checks it, and lists the macros: M_... breaks the protocol, A_... drops an assumption.
 *
 * HONEST	there is no thief, and the honest clients keep the assumptions
 * PATIENT	they also wait for a grace before they refresh again
 * P		the property to check; 0 is all of them
 */
#ifndef P
#define P			0
#endif
#define CHECK(k, c)	assert((P != 0 && P != k) || (c))

/* Generations: tokens are 1 to N, and nobody presents N */
#ifndef N
#ifdef HONEST
#define N			6
#else
#define N			4
#endif
#endif

/* Processes that redeem: two tabs that share one stored token, and a thief */
#define THIEF		2
#ifdef HONEST
#define CLIENTS		2
#else
#define CLIENTS		3
#endif

#define BIT(t)		(1 << (t))

/* A redemption by a client */
#define IDLE		0
#define SENT		1			/* the request is on its way */
#define JUDGED		2			/* its transaction has a verdict and is open */
#define COMMITTED	3			/* the answer is on its way */
#define FAILED		4			/* there was no answer */

/* The verdict on a token */
#define DEAD		0			/* the session had ended */
#define SAME		1			/* the same successor again */
#define ROTATE		2			/* a new successor */
#define CATCH_UP	3			/* a rotation that was lost */
#define END			4			/* reuse: end the session */

/*
 * The row of the session, and the row of a standby that lags by one rotation.
 * "rotated" is a ghost: the set of tokens whose rotation is not lost.
 */
typedef Row
{
	byte n;
	bit ended;
	byte rotated
}
Row row;
Row standby;

bit in_grace = 1;				/* since n was made, the server started, or was promoted */
bit locked;						/* the row is */

byte phase[CLIENTS];
byte token[CLIENTS];			/* what is presented */
byte verdict[CLIENTS];
byte answer[CLIENTS];			/* a refresh token; 0 is invalid_grant */

byte store = 1;					/* the token of the honest clients; 0: logged out */
byte stolen;					/* the tokens of the thief: a set */

/* Ghosts record what happened */
bit timely[CLIENTS];			/* this redemption is inside of the grace */
byte newest = 1;				/* token that was ever made */
byte successor[N + 3];			/* of each token, if it has been given out */
bit dead;						/* the end was committed */
bit victim_out, thief_out;		/* have redeemed outside of the grace */

/*
 * The assumption on honest clients: the grace does not end while one of them redeems a
 * token that needs it.
 */
#ifdef A_SLOW
#define BUSY(i)		(false)
#elif defined(PATIENT)
#define BUSY(i)		(phase[i] != IDLE)
#else
#define BUSY(i)		(phase[i] != IDLE && token[i] < row.n)
#endif
#ifdef HONEST
#define GRACE_MAY_END	(!BUSY(0) && !BUSY(1))
#else
#define GRACE_MAY_END	true
#endif

#ifdef PATIENT
bit recent[CLIENTS];			/* has got a token since the grace began */
#define MAY_BEGIN(i)	(store != 0 && store < N && !recent[i])
#else
#define MAY_BEGIN(i)	(store != 0 && store < N)
#endif

/* The clauses of the table that a macro breaks */
#ifdef M_NO_LOCK
#define FREE			true
#else
#define FREE			(!locked)
#endif
#ifdef M_ENDED_REFRESHES
#define HAS_ENDED		false
#else
#define HAS_ENDED		row.ended
#endif
#ifdef M_ALWAYS_ROTATE
#define CURRENT_AGAIN	false
#else
#define CURRENT_AGAIN	in_grace
#endif
#ifdef M_NO_GRACE
#define PARENT_AGAIN	false
#elif defined(M_NO_TIME_LIMIT)
#define PARENT_AGAIN	(token[i] + 1 == row.n)
#elif defined(M_PARENTS_PARENT)
#define PARENT_AGAIN	((token[i] + 1 == row.n || token[i] + 2 == row.n) && in_grace)
#else
#define PARENT_AGAIN	(token[i] + 1 == row.n && in_grace)
#endif
#ifdef M_NEXT_IS_REUSE
#define NEXT			false
#else
#define NEXT			(token[i] == row.n + 1)
#endif
#ifdef M_JUMP
#define CAUGHT_UP		(row.n + 2)
#else
#define CAUGHT_UP		(row.n + 1)
#endif

/* The table of answers */
inline judge(i)
{
	if
	:: HAS_ENDED -> verdict[i] = DEAD
	:: else ->
		timely[i] = in_grace && (token[i] == row.n || token[i] + 1 == row.n);
		if
		:: token[i] == row.n && CURRENT_AGAIN -> verdict[i] = SAME; answer[i] = row.n
		:: token[i] == row.n && !CURRENT_AGAIN -> verdict[i] = ROTATE; answer[i] = row.n + 1
#ifdef M_GRACE_ROTATES
		:: PARENT_AGAIN -> verdict[i] = ROTATE; answer[i] = row.n + 1
#else
		:: PARENT_AGAIN -> verdict[i] = SAME; answer[i] = row.n
#endif
		:: NEXT -> verdict[i] = CATCH_UP; answer[i] = CAUGHT_UP
		:: else -> verdict[i] = END
		fi
	fi
}

inline redeemed_out(i)
{
	if
	:: i == THIEF -> thief_out = 1
	:: else -> victim_out = 1
	fi
}

/* Check an answer that is committed, and remember it */
inline observe(i)
{
	CHECK(4, !dead);
	if
	:: answer[i] != token[i] ->
		CHECK(2, successor[token[i]] == 0 || successor[token[i]] == answer[i]);
		successor[token[i]] = answer[i]
	:: else
	fi;
	if
	/* thief and victim may now hold the same token */
	:: (verdict[i] == SAME && timely[i]) || newest > row.n -> victim_out = 0; thief_out = 0
	:: else -> redeemed_out(i)
	fi;
	newest = (answer[i] > newest -> answer[i] : newest)
}

/* Check a refusal */
inline refuse(i)
{
#ifdef HONEST
	CHECK(3, false);
#endif
	skip
}

inline rotate(i)
{
	standby.n = row.n;
	standby.rotated = row.rotated;
	row.n = answer[i];
	in_grace = 1
}

/* What happened no longer matters, since the end is never lost: fewer states */
inline forget()
{
	row.rotated = 0;
	standby.rotated = 0;
	successor[1] = 0;
	successor[2] = 0;
	successor[3] = 0;
	newest = row.n;
	victim_out = 0;
	thief_out = 0
}

inline end_session()
{
#ifndef M_ABORT_ON_REUSE
	row.ended = 1;
	dead = 1;
#if !defined(M_LAZY_END) && !defined(A_LAGGING_END)
	standby.ended = 1;
	standby.n = row.n;
	forget();
#endif
#endif
	skip
}

/* The transaction is over */
inline leave(i)
{
	CHECK(1, !(victim_out && thief_out) || row.ended);
	verdict[i] = 0;
	timely[i] = 0;
	locked = 0
}

/* There is no answer */
inline fail(i)
{
	answer[i] = 0;
#ifdef HONEST
	phase[i] = FAILED
#else
	token[i] = 0;
	phase[i] = IDLE
#endif
}

/* The server stops, and open transactions abort */
inline stop(i)
{
	if
	:: phase[i] == JUDGED -> leave(i); fail(i)
#ifdef PATIENT
	:: phase[i] == SENT -> phase[i] = FAILED
#endif
	:: else
	fi;
#ifdef PATIENT
	recent[i] = 0;
#endif
	skip
}

inline restart()
{
	stop(0);
	stop(1);
#ifndef HONEST
	stop(THIEF);
#endif
#ifdef M_LAZY_END
	row.ended = standby.ended;
#endif
#ifdef M_NO_RESTART_GRACE
	in_grace = 0;				/* it took long */
#else
	in_grace = 1;
#endif
	skip
}

/* The client gets its answer. A tab stores it if its token is still the stored one. */
inline receive(i)
{
	printf("client %d gets %d\n", i, answer[i]);
	if
	:: i == THIEF && answer[i] != 0 -> stolen = stolen | BIT(answer[i])
#ifdef A_LAST_WRITER_WINS
	:: i != THIEF && answer[i] != 0 -> store = answer[i]
#endif
	:: i != THIEF && (answer[i] == 0 || store == token[i]) -> store = answer[i]
	:: else
	fi;
#ifdef PATIENT
	recent[i] = 1;
#endif
	skip
}

inline done(i)
{
	token[i] = 0;
	answer[i] = 0;
	phase[i] = IDLE
}

proctype Client(byte i)
{
	byte t;
	do
	/* A request */
	:: d_step { i != THIEF && phase[i] == IDLE && MAY_BEGIN(i) ->
			token[i] = store; phase[i] = SENT;
			printf("client %d presents %d\n", i, token[i]) }
	:: atomic { i == THIEF && phase[i] == IDLE && stolen != 0 ->
			select (t : 1 .. N - 1);
			if
			:: stolen & BIT(t) -> token[i] = t; phase[i] = SENT; printf("the thief presents %d\n", t)
			:: else
			fi;
			t = 0 }

	/* A transaction */
	:: d_step { phase[i] == SENT && FREE ->
			locked = 1; judge(i); phase[i] = JUDGED;
			printf("client %d: token %d, row %d, in grace %d: verdict %d, answer %d\n",
				i, token[i], row.n, in_grace, verdict[i], answer[i]) }
	:: d_step { phase[i] == JUDGED && verdict[i] == DEAD -> refuse(i); leave(i); phase[i] = COMMITTED }
	:: d_step { phase[i] == JUDGED && verdict[i] == SAME -> observe(i); leave(i); phase[i] = COMMITTED }
	:: d_step { phase[i] == JUDGED && verdict[i] == ROTATE ->
			observe(i); rotate(i);
			CHECK(5, !(row.rotated & BIT(token[i])));
			row.rotated = row.rotated | BIT(token[i]);
			leave(i); phase[i] = COMMITTED }
	:: d_step { phase[i] == JUDGED && verdict[i] == CATCH_UP -> observe(i); rotate(i); leave(i); phase[i] = COMMITTED }
	:: d_step { phase[i] == JUDGED && verdict[i] == END ->
			refuse(i); redeemed_out(i); end_session(); leave(i); phase[i] = COMMITTED }
	:: d_step { phase[i] == JUDGED -> leave(i); fail(i); printf("client %d: abort\n", i) }
#ifdef A_CALLER_ABORTS
	:: d_step { phase[i] == JUDGED && i == THIEF -> leave(i); phase[i] = COMMITTED; printf("the thief aborts\n") }
#endif

	/* An answer */
	:: d_step { phase[i] == COMMITTED -> receive(i); done(i) }
	:: d_step { phase[i] == COMMITTED && i != THIEF ->
			fail(i); printf("client %d: the answer is lost\n", i) }

	/* Try again, with what is stored or with the same token; the others just begin anew */
#ifdef HONEST
	:: d_step { phase[i] == FAILED && store != 0 ->
			token[i] = store; phase[i] = SENT; printf("client %d presents %d again\n", i, token[i]) }
#ifndef PATIENT
	:: d_step { phase[i] == FAILED && store != 0 ->
			phase[i] = SENT; printf("client %d presents %d again\n", i, token[i]) }
#endif
#endif
	od
}

proctype World()
{
	byte t;
	do
	:: d_step { in_grace && GRACE_MAY_END ->
			in_grace = 0;
#ifdef PATIENT
			recent[0] = 0; recent[1] = 0;
#endif
			printf("the grace ends\n") }
	:: d_step { true -> restart(); printf("the server restarts\n") }
	:: d_step { standby.n != row.n || standby.ended != row.ended ->
			printf("promotion: row %d, was %d\n", standby.n, row.n);
			row.n = standby.n;
			row.ended = standby.ended;
			row.rotated = standby.rotated;
#ifdef A_TWO_LOST
			standby.n = (row.n > 1 -> row.n - 1 : 1);
#endif
			victim_out = 0;
			thief_out = 0;
			restart() }
#ifndef HONEST
	:: d_step { !locked && !row.ended -> end_session(); printf("the session is ended\n") }
	:: atomic { stolen == 0 ->
			select (t : 1 .. N - 1);
			if
			:: t <= newest ->
				stolen = BIT(t); victim_out = 0; thief_out = 0; printf("theft of %d\n", t)
			:: else
			fi;
			t = 0 }
#endif
	od
}

init
{
	atomic {
		row.n = 1;
		standby.n = 1;
		run Client(0);
		run Client(1);
#ifndef HONEST
		run Client(THIEF);
#endif
		run World()
	}
}
