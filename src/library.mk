# The common part of the Makefiles of jwt_jwks, jwt_auth and jwt_pgjwt.  They set
# MODULE_big, OBJS and LIBRARY, and are called by the Makefile above.

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(srcdir)/.. -DJWT_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -fvisibility=hidden -fno-plt -fstack-protector-strong $(if $(WERROR),-Werror)
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-ignored-optimization-argument -Wno-unknown-warning-option
endif
SHLIB_LINK = $(LIBRARY) -Wl,-z,relro,-z,now
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
# files of these folders are built for each library that links them
vpath %.c $(srcdir)/../token $(srcdir)/../extension
$(OBJS): $(wildcard $(srcdir)/*.h $(srcdir)/../*.h $(srcdir)/../*/*.h)
